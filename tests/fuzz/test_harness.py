"""The harness itself: its pieces, and what its commands do without a fuzzer."""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz import Refused, campaign, command_line, dictionary, record, shapes, targets
from fuzz.client_beginnings import SCRIPTS, begin, snapshot
from fuzz.client_life import UPGRADE
from fuzz.codec_checks import check_nothing_is_lost
from fuzz.drawing import Draw
from fuzz.findings import TooSlow, failure_of, minimise, signature
from fuzz.framing import first_frames, frame, sent_frames
from fuzz.snapshots import Snapshot, is_shared
from fuzz.storage import Storage, name_of, pack, unpack
from fuzz.wire_life import pieces
from sansio_rt import ServerProtocol, events

# --- bytes to choices ---------------------------------------------------------------------------


@given(st.binary(max_size=40))
def test_drawing_never_fails_and_ends(data: bytes) -> None:
    draw = Draw(data)
    for _ in range(20):
        draw.byte()
        assert draw.below(7) < 7
        assert draw.choice("abc") in "abc"
        assert len(draw.text()) <= 63
        draw.block()
    assert draw.left == 0
    assert draw.byte() == 0


@given(st.binary(max_size=200), st.integers(0, 255))
def test_pieces_are_the_whole(data: bytes, way: int) -> None:
    assert b"".join(pieces(data, way)) == data
    assert all(pieces(data, way))


@given(st.lists(st.binary(max_size=200), max_size=6), st.integers(0, 7), st.booleans())
def test_the_first_frames_are_whole(payloads: list[bytes], count: int, masked: bool) -> None:
    frames = [
        frame(payload, opcode=9 if n else 1, masked=masked) for n, payload in enumerate(payloads)
    ]
    assert first_frames(b"".join(frames), count) == b"".join(frames[:count])


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\x01a",  # a fragment
        b"\x81\x81\0\0\0\0a",  # masked
        b"\x88\x00\x81\x01a",  # behind a close frame
        b"\x81\x7e\x00\x01a",  # not the shortest length
        b"\x89\x7e\x00\x7e" + bytes(126),  # a long control frame
        b"\x81\x01\xff",  # not UTF-8
        b"\x81\x02a",  # not whole
        b"\x88\x02\x03\xed",  # a code that is not sent
    ],
)
def test_the_oracle_of_frames_is_strict(data: bytes) -> None:
    assert sent_frames(frame(b"a") + frame(b"", opcode=8), masked=False)
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        sent_frames(data, masked=False)


@pytest.mark.parametrize(
    ("read", "written"),
    [
        ({"new": None}, {}),
        ({"new": 1}, {"new": 2}),
        ({"item": {"content": [{"new": []}]}}, {"item": {"content": [{}]}}),
        ({"content": {"new": 1}}, {"content": [{}]}),
        ({"content": [{}, {}]}, {"content": [{}]}),
    ],
)
def test_a_field_that_the_codec_loses_is_noticed(read: Any, written: Any) -> None:
    check_nothing_is_lost(read, read)
    check_nothing_is_lost({"type": "x", "id": None}, {"type": "x"})
    with pytest.raises(AssertionError):
        check_nothing_is_lost(read, written)


@pytest.mark.parametrize("settings", range(0, 16, 5))
def test_lives_begin_with_copies_that_share_nothing_that_changes(settings: int) -> None:
    for how in range(len(SCRIPTS) + 1):
        restore = snapshot(how << 4 | settings).restore
        first, second = _changing(restore()), _changing(restore())
        assert len(first) == len(second) > 40
        assert not first.keys() & second.keys()


def _changing(made: Any) -> dict[int, Any]:
    """All objects that one holds and that are not shared, by identity."""
    found: dict[int, Any] = {}
    waiting = [made]
    while waiting:
        value = waiting.pop()
        if id(value) not in found and not is_shared(value):
            found[id(value)] = value
            waiting += gc.get_referents(value)
    return found


def test_what_a_copy_does_another_does_in_the_same_way() -> None:
    told = []
    for _ in range(2):
        life = begin(bytes([2 << 4, 3, 18, 0, 30, 5]))
        while life.draw.left:
            life.step()
        told.append((life.client.conversation.ids(), life.client.state, life.now, life.server.ids))
    assert told[0] == told[1]


def test_snapshots_keep_what_hangs_together() -> None:
    loop: list[Any] = [deque([1], maxlen=3), {"key": {2}}]
    loop += [loop, loop[0].append, ValueError("no")]
    copy = Snapshot(lambda: loop).restore()
    assert copy[2] is copy
    assert copy is not loop
    copy[3](5)
    assert (copy[0], loop[0], copy[0].maxlen) == (deque([1, 5]), deque([1]), 3)
    assert copy[1] == loop[1]
    assert copy[1] is not loop[1]
    assert str(copy[4]) == "no"


def test_lives_begin_at_many_points() -> None:
    lives = [begin(bytes([how << 4 | 2])) for how in range(len(SCRIPTS) + 1)]
    states = {life.client.state.value for life in lives}
    assert states == {"connecting", "ready", "replaying", "closed"}
    assert sum(life.client.reconnecting for life in lives) == 2
    assert sum(life.next_link is not None for life in lives) == 2
    assert sum(bool(life.watch.calls) for life in lives) == 1
    assert sum(len(life.client.generations) for life in lives) >= 5


def test_a_next_connection_takes_over_in_a_life() -> None:
    life = begin(bytes([(len(SCRIPTS) - 1) << 4 | 2]))
    before, server = life.client.link, life.next_server
    life.follow((("server_goes_on", 0, 9, 1), ("server_goes_on", 0, 1, 0)))
    life.follow([("next_answers", 0), ("time_passes", 3)] * 3)
    assert life.client.link is not before
    assert life.server is server
    life.server_answers_all()
    life.collect()
    assert life.client.state.value == "ready"
    life.end()


def test_what_does_not_count_for_lives_is_there() -> None:
    assert targets.not_counted("codec") == []
    for name in targets.not_counted("client"):
        assert importlib.util.find_spec(name) is not None, name


# --- samples and seeds --------------------------------------------------------------------------


@pytest.mark.parametrize("server", [True, False])
def test_there_is_a_sample_of_every_event_and_each_is_read(server: bool) -> None:
    decode = events.decode_server if server else events.decode_client
    for kind in shapes.kinds(server=server):
        for sample in shapes.samples(kind, server=server):
            assert not isinstance(decode(json.dumps(sample)), events.UnknownEvent)


def test_the_dictionary_has_the_words_of_the_protocol(tmp_path: Path) -> None:
    file = dictionary.write(tmp_path / "events.dict")
    assert {b'"response.create"', b'"call_id"', b'"session.update"'} <= set(dictionary.entries())
    assert len(file.read_text("ascii").splitlines()) == len(dictionary.entries())


def test_seeds_are_recorded_and_are_those_that_are_kept(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    counts = record.record_all(storage)
    assert set(counts) <= set(targets.names())
    assert min(counts.values()) > 0
    for name in counts:
        assert unpack(storage.seeds(name)) == unpack(Storage().seeds(name)), (
            f"the seeds of {name} are not what the code makes now: python -m fuzz record"
        )


def test_a_life_that_is_answered_well_ends_well() -> None:
    life = begin(b"\0")
    life.caller_says()
    life.caller_asks()
    life.collect()
    life.server_answers_all()
    life.collect()
    assert len(life.client.conversation) == 1
    assert len(life.server.running) == 1
    life.end()


def test_the_upgrade_is_what_our_server_answers() -> None:
    server = ServerProtocol()
    server.receive_data(record.converse()[0].request, 0.0)
    assert server.data_to_send().startswith(UPGRADE)


# --- keeping ------------------------------------------------------------------------------------


def test_archives_are_the_same_for_the_same_inputs(tmp_path: Path) -> None:
    inputs = [bytes([n]) * n for n in range(50)]
    assert pack(tmp_path / "a.zip", inputs) == 50
    assert pack(tmp_path / "b.zip", reversed(inputs)) == 50
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert sorted(data for _, data in unpack(tmp_path / "a.zip")) == sorted(inputs)
    assert pack(tmp_path / "c.zip", inputs, max_bytes=1_000) < 50
    assert (tmp_path / "c.zip").stat().st_size < 1_500


def planted(data: bytes) -> None:
    """Fails on a B behind an A, in another way on a Z; hangs on an L, sleeps on an S, leaves on an E."""
    if b"A" in data and b"B" in data[data.index(b"A") :]:
        raise ValueError("an A and a B")
    if b"Z" in data:
        raise KeyError("a Z")
    if b"L" in data:
        while True:
            try:
                time.sleep(0)
            except Exception:  # noqa: BLE001 - what swallows everything ends all the same
                continue
    if b"S" in data:
        time.sleep(60)
    if b"E" in data:
        sys.exit(0)


def test_a_finding_is_minimised_to_what_shows_the_same() -> None:
    long = bytes(range(32)) * 3 + b"A" + bytes(40) + b"ZB" + bytes(20)
    assert minimise(planted, long) == b"AB"
    assert minimise(planted, b"..Z..") == b"Z"
    with pytest.raises(Refused, match="does not fail"):
        minimise(planted, b"fine")
    first, second = failure_of(planted, b"AB"), failure_of(planted, b"Z")
    assert first is not None
    assert second is not None
    assert signature(first) != signature(second)


@pytest.mark.parametrize("data", [b"..L", b"..S"])
def test_what_hangs_is_given_up(data: bytes) -> None:
    failure = failure_of(planted, data, seconds=0.1)
    assert isinstance(failure, TooSlow)
    assert signature(failure) == "TooSlow"
    assert failure_of(planted, b"fine", seconds=0.1) is None


def test_a_target_that_leaves_is_a_finding() -> None:
    assert minimise(planted, b"..E..") == b"E"


def test_a_finding_becomes_a_regression(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    file = tmp_path / "found"
    file.write_bytes(b"AB")
    kept = campaign.keep("codec", file, "a_then_b", storage)
    assert kept.read_bytes() == b"AB"
    assert storage.kept_inputs("codec") == [("regressions/a_then_b", b"AB")]
    assert (storage.fill_work("codec") / name_of(b"AB")).read_bytes() == b"AB"
    file.write_bytes(b"Z")
    with pytest.raises(Refused, match="of that name"):
        campaign.keep("codec", file, "a_then_b", storage)
    assert kept.read_bytes() == b"AB"


@pytest.mark.parametrize("title", ["a/b", "../../../x", "..", "", "a b", ".hidden"])
def test_a_regression_has_a_plain_name(tmp_path: Path, title: str) -> None:
    with pytest.raises(Refused, match="names no regression"):
        campaign.keep("codec", Path(__file__), title, Storage(tmp_path))
    assert not list(tmp_path.iterdir())


# --- the command line ---------------------------------------------------------------------------


def test_the_list_tells_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--list"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == targets.names()


def test_a_target_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["no_such_target"]) == 2
    assert "wire_client" in capsys.readouterr().err


def test_replay_and_minimise_need_no_fuzzer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "input"
    file.write_bytes(b"\0{}")
    assert command_line.main(["replay", "codec", str(file)]) == 0
    assert "fine" in capsys.readouterr().out


def test_where_the_fuzzer_is_missing_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert command_line.main(["codec", "--seconds", "1"]) == 2
    assert "trio-rt[fuzz]" in capsys.readouterr().err


def test_what_cannot_be_run_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work").write_bytes(b"in the way of a folder")
    monkeypatch.setattr(command_line, "Storage", lambda: Storage(tmp_path))
    monkeypatch.setattr(campaign, "require_atheris", lambda: None)
    here, missing = str(Path(__file__)), str(tmp_path / "missing")
    for words, told in (
        (["replay", "codec", missing], missing),
        (["minimise", "codec", missing], missing),
        (["minimise", "codec", here], "does not fail"),
        (["keep", "codec", missing, "x"], missing),
        (["keep", "nosuch", here, "x"], "no target 'nosuch'"),
        (["keep", "codec", here], "usage: python -m fuzz keep TARGET FILE NAME"),
        (["replay", "codec"], "usage: python -m fuzz replay TARGET FILE..."),
        (["merge"], "usage: python -m fuzz merge TARGET|all"),
        (["record", "codec"], "usage: python -m fuzz record"),
        (["codec"], str(tmp_path / "work")),
        (["merge", "codec"], str(tmp_path / "work")),
        (["codec", "--instrument", "no_such_package"], "no package 'no_such_package'"),
        (["codec", "--instrument", "no_such.package"], "no package 'no_such.package'"),
    ):
        assert command_line.main(words) == 2, words
        output = capsys.readouterr()
        assert told in output.err, words
        assert not output.out
        assert len(output.err.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["work"]


@pytest.mark.parametrize("seconds", ["0", "-1", "soon"])
def test_a_run_takes_a_second_or_more(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(["codec", "--seconds", seconds])
    assert ended.value.code == 2
    assert "--seconds" in capsys.readouterr().err


def test_a_broken_target_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module\n", "utf-8")
    (tmp_path / "without.py").write_text("pass\n", "utf-8")
    monkeypatch.setattr(targets, "__path__", [*targets.__path__, str(tmp_path)])
    assert command_line.main(["--list"]) == 2
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert list(lines) == targets.names()
    assert "is broken: ModuleNotFoundError" in lines["broken"]
    assert f"{tmp_path / 'broken.py'}:1" in lines["broken"]
    assert "is broken: AttributeError" in lines["without"]
    assert command_line.main(["replay", "broken", __file__]) == 2
    assert "is broken" in capsys.readouterr().err


# --- the document -------------------------------------------------------------------------------

DOCUMENT = (Path(__file__).parents[2] / "docs" / "fuzzing.md").read_text("utf-8")


def test_the_example_of_the_document_works() -> None:
    code = DOCUMENT.split("<!-- own-handlers -->\n```python\n")[1].split("\n```")[0]
    names: dict[str, Any] = {}
    exec(compile(code, "docs/fuzzing.md", "exec"), names)
    names["fuzz"](bytes([0, 1, 2, 3, 2, 200, 4, 5, 255]))
    names["MESSAGES"][2] = names["MESSAGES"][2].replace(b"Hello", b"Bye")
    with pytest.raises(AssertionError):
        names["fuzz"](bytes([0, 1, 3, 2]))


def test_the_document_names_every_target_and_every_regression() -> None:
    for name in targets.names():
        assert f"`{name}`" in DOCUMENT
    for file in (Storage().root / "regressions").rglob("*/*"):
        assert f"`{file.name}`" in DOCUMENT or file.parent.name == "tool_schemas", file
