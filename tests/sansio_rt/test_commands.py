"""The table of outstanding commands: each leaves it in exactly one of four ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import (
    Command,
    CommandKind,
    CommandRefused,
    CommandTimeout,
    LocalProtocolError,
    Outcome,
)
from sansio_rt._commands import CommandTable


def asked(table: CommandTable, event_id: str, kind: CommandKind, key: str = "") -> Command:
    command = table.add(Command(event_id, kind, key))
    table.start_clock(command, 10.0)
    return command


def test_an_outstanding_command_has_no_result() -> None:
    command = Command("e1", CommandKind.UPDATE)
    assert repr(command) == "<Command session.update e1 outstanding>"
    with pytest.raises(LocalProtocolError, match="no result yet"):
        command.result()


def test_acknowledged_refused_late_and_lost() -> None:
    table = CommandTable()
    good, bad, late, lost = (asked(table, name, CommandKind.UPDATE) for name in "abcd")
    assert table.acknowledge(good, "value") is good
    assert good.result() == "value"
    table.refuse(bad, CommandRefused("no"))
    table.start_clock(lost, 20.0)
    assert table.expire(10.0) == [late]
    assert table.end_all(CommandRefused("gone")) == [lost]
    for command, outcome in (
        (good, Outcome.ACKNOWLEDGED),
        (bad, Outcome.REFUSED),
        (late, Outcome.DEADLINE),
        (lost, Outcome.CONNECTION_ENDED),
    ):
        assert command.outcome is outcome
        assert outcome.value in repr(command)
    for command in (bad, late, lost):
        with pytest.raises((CommandRefused, CommandTimeout)):
            command.result()
    assert len(table) == 0
    assert list(table) == []


def test_an_answer_is_for_the_oldest_of_its_kind_and_key() -> None:
    table = CommandTable()
    first = asked(table, "a", CommandKind.DELETE_ITEM, "item")
    second = asked(table, "b", CommandKind.DELETE_ITEM, "item")
    asked(table, "c", CommandKind.DELETE_ITEM, "other")
    assert table.find(CommandKind.DELETE_ITEM, "item") is first
    table.acknowledge(first)
    assert table.find(CommandKind.DELETE_ITEM, "item") is second
    table.acknowledge(second)
    assert table.find(CommandKind.DELETE_ITEM, "item") is None
    assert table.find(CommandKind.DELETE_ITEM) is None
    assert table.get("b") is None
    assert table.get("c") is not None


def test_the_limit_is_for_callers_and_not_for_the_session_itself() -> None:
    table = CommandTable(limit=1)
    asked(table, "a", CommandKind.UPDATE)
    with pytest.raises(LocalProtocolError, match="max_pending_commands"):
        table.add(Command("b", CommandKind.UPDATE))
    assert len(table) == 1
    table.add(Command("c", CommandKind.CANCEL, "r1"), beyond_limit=True)
    assert len(table) == 2


def test_only_the_newest_deadline_of_a_command_counts() -> None:
    table = CommandTable()
    command = asked(table, "a", CommandKind.REPLY)
    table.start_clock(command, 30.0)
    assert table.next_deadline() == 30.0
    assert table.expire(10.0) == []
    command.deadline = None  # it waits for something else now
    assert table.next_deadline() is None
    assert table.expire(99.0) == []
    table.start_clock(command, 40.0)
    assert table.expire(39.9) == []
    assert table.expire(40.0) == [command]
    assert isinstance(command.error, CommandTimeout)
    assert command.error.missing == ("a",)


def test_what_outlives_a_connection_waits_without_a_clock() -> None:
    table = CommandTable()
    edit = asked(table, "a", CommandKind.CREATE_ITEM, "item")
    reply = asked(table, "b", CommandKind.REPLY)
    ended = table.end_all(
        CommandRefused("gone"), keep=lambda command: command.kind is CommandKind.CREATE_ITEM
    )
    assert ended == [reply]
    assert edit.outcome is None
    assert table.next_deadline() is None
    assert list(table) == [edit]


def test_the_late_answer_to_a_command_that_timed_out_is_for_nobody() -> None:
    table = CommandTable()
    asked(table, "a", CommandKind.UPDATE)
    table.expire(10.0)
    newer = asked(table, "b", CommandKind.UPDATE)
    assert table.answered(CommandKind.UPDATE, 11.0) is None  # that was for a
    assert table.answered(CommandKind.UPDATE, 11.0) is newer
    assert table.answered(CommandKind.COMMIT, 11.0) is None


def test_an_answer_is_not_awaited_for_ever() -> None:
    table = CommandTable()
    asked(table, "a", CommandKind.UPDATE)
    table.expire(10.0)
    newer = asked(table, "b", CommandKind.UPDATE)
    assert table.answered(CommandKind.UPDATE, 99.0) is newer


def test_after_the_answer_to_a_newer_command_none_is_expected_to_an_older() -> None:
    table = CommandTable()
    asked(table, "a", CommandKind.UPDATE)
    asked(table, "b", CommandKind.COMMIT)
    table.expire(10.0)
    newer = asked(table, "c", CommandKind.UPDATE)
    asked(table, "d", CommandKind.COMMIT)
    table.expect_none_late(CommandKind.UPDATE)
    assert table.answered(CommandKind.UPDATE, 11.0) is newer
    assert table.answered(CommandKind.COMMIT, 11.0) is None


def test_a_late_refusal_is_the_late_answer() -> None:
    table = CommandTable()
    asked(table, "a", CommandKind.UPDATE)
    table.expire(10.0)
    newer = asked(table, "b", CommandKind.UPDATE)
    table.forget_late("a")
    table.forget_late("nobody's")
    assert table.answered(CommandKind.UPDATE, 11.0) is newer


def test_the_memory_of_late_commands_is_bounded() -> None:
    table = CommandTable()
    for number in range(200):
        asked(table, f"e{number}", CommandKind.UPDATE)
        table.expire(10.0)
    newer = asked(table, "newer", CommandKind.UPDATE)
    answers = [table.answered(CommandKind.UPDATE, 11.0) for _ in range(65)]
    assert answers == [None] * 64 + [newer]


@given(st.lists(st.tuples(st.sampled_from("ard"), st.integers(0, 5)), max_size=30))
def test_whatever_happens_every_command_ends_once(steps: list[tuple[str, int]]) -> None:
    table = CommandTable()
    commands: list[Command] = []
    ended: list[Command] = []
    for number, (step, choice) in enumerate(steps):
        outstanding = list(table)
        if step == "a":
            commands.append(asked(table, f"e{number}", CommandKind.UPDATE, str(choice)))
        elif step == "r" and outstanding:
            ended.append(table.refuse(outstanding[choice % len(outstanding)], CommandRefused("no")))
        elif step == "d":
            ended += table.expire(10.0)
        assert len(table) == len(commands) - len(ended)
    ended += table.end_all(CommandRefused("gone"))
    assert sorted(command.event_id for command in ended) == sorted(c.event_id for c in commands)
    assert len(table) == 0
    assert table.next_deadline() is None
