"""Item lists to edits, and three lists to one (C3, C5)."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt._diff import CreateItem, DeleteItem, Edit, diff, merge
from sansio_rt._errors import LocalProtocolError


class Item(msgspec.Struct, frozen=True):
    id: Any
    text: str = ""


IDS = "abcdefgh"


def items_of(ids: str = IDS) -> st.SearchStrategy[list[Item]]:
    """Lists of items with ids of their own; few texts, so that some contents are equal."""
    return st.lists(
        st.builds(Item, st.sampled_from(ids), st.sampled_from(["", "x"])),
        unique_by=lambda item: item.id,
    )


def named(ids: str, text: str = "") -> list[Item]:
    return [Item(item_id, text) for item_id in ids]


def apply(items: list[Item], edits: list[Edit[Item]]) -> list[Item]:
    """Do what the service does with deletes and creates, as strictly as it does."""
    result = list(items)
    for edit in edits:
        ids = [item.id for item in result]
        if isinstance(edit, DeleteItem):
            del result[ids.index(edit.item_id)]
        else:
            assert edit.item.id not in ids
            behind = 0 if edit.previous_item_id == "root" else ids.index(edit.previous_item_id) + 1
            result.insert(behind, edit.item)
    return result


def runs_that_can_stay(old: list[Item], new: list[Item]) -> list[list[str]]:
    """Every selection of new items that the old ones have in that order; their ids."""
    runs: list[list[str]] = []
    for length in range(len(new) + 1):
        for kept in itertools.combinations(new, length):
            remaining = iter(old)
            if all(item in remaining for item in kept):
                runs.append([item.id for item in kept])
    return runs


def most_that_can_stay(old: list[Item], new: list[Item]) -> int:
    return max(map(len, runs_that_can_stay(old, new)))


# C3.


@given(items_of(), items_of())
def test_applying_the_edits_gives_the_new_list(old: list[Item], new: list[Item]) -> None:
    edits = diff(old, new)
    assert apply(old, edits) == new
    deletes = [isinstance(edit, DeleteItem) for edit in edits]
    assert deletes == sorted(deletes, reverse=True), "deletes come first"


@given(items_of("abcdef"), items_of("abcdef"))
def test_no_shorter_list_of_edits_does_it(old: list[Item], new: list[Item]) -> None:
    stay = most_that_can_stay(old, new)
    assert len(diff(old, new)) == len(old) + len(new) - 2 * stay


def test_of_the_shortest_lists_one_leaves_most_held_items() -> None:
    """All orders of four items, and each choice of those that are held."""
    old = named("abcd")
    for order, bits in itertools.product(itertools.permutations("abcd"), range(16)):
        new, held = named("".join(order)), {"abcd"[bit] for bit in range(4) if bits >> bit & 1}
        edits = diff(old, new, hold=lambda item, held=held: item.id in held)
        assert apply(old, edits) == new
        runs = runs_that_can_stay(old, new)
        longest = [run for run in runs if len(run) == max(map(len, runs))]
        moved = {edit.item_id for edit in edits if isinstance(edit, DeleteItem)}
        assert len(moved) == len(old) - len(longest[0])
        assert len(held - moved) == max(len(held.intersection(run)) for run in longest)


def test_of_two_that_change_places_the_held_one_stays() -> None:
    for held in "ab":
        deletion, _ = diff(named("ab"), named("ba"), hold=lambda item, held=held: item.id == held)
        assert isinstance(deletion, DeleteItem)
        assert deletion.item_id != held


@given(items_of())
def test_equal_lists_need_no_edits(items: list[Item]) -> None:
    assert diff(items, list(items)) == []


def test_creates_name_the_item_in_front() -> None:
    new = named("xaybz")
    assert diff(named("ab"), new) == [
        CreateItem(new[0], "root"),
        CreateItem(new[2], "a"),
        CreateItem(new[4], "b"),
    ]
    assert diff([], named("ab")) == [
        CreateItem(Item("a"), "root"),
        CreateItem(Item("b"), "a"),
    ]


def test_changed_content_is_a_delete_and_a_create() -> None:
    new = [Item("a"), Item("b", "new"), Item("c")]
    assert diff(named("abc"), new) == [DeleteItem("b"), CreateItem(new[1], "a")]


def test_one_item_that_moves_far_is_one_delete_and_one_create() -> None:
    assert diff(named("abcdefgh"), named("bcdefgha")) == [
        DeleteItem("a"),
        CreateItem(Item("a"), "h"),
    ]
    assert diff(named("abcdefgh"), named("habcdefg")) == [
        DeleteItem("h"),
        CreateItem(Item("h"), "root"),
    ]


def test_the_caller_may_say_what_equal_means() -> None:
    assert diff(named("ab", "old"), named("ab", "new"), equal=lambda a, b: a.id == b.id) == []


def test_ten_thousand_items_are_quick() -> None:
    """C3: a quadratic algorithm needs seconds here; the bound leaves room for a slow machine."""
    source = random.Random(1)
    old = [Item(f"item_{number}", f"text {number}") for number in range(10_000)]
    new = [Item(item.id, item.text) for item in old]
    for _ in range(1_000):
        new.insert(source.randrange(len(new)), new.pop(source.randrange(len(new))))
    begin = time.perf_counter()
    edits = diff(old, new)
    elapsed_s = time.perf_counter() - begin
    assert 1_000 < len(edits) <= 2_000
    assert elapsed_s < 0.5


# C5.


@given(items_of(), items_of(), items_of())
def test_a_merge_loses_no_item_that_the_server_added(
    base: list[Item], ours: list[Item], server: list[Item]
) -> None:
    merged = merge(base, ours, server)
    base_ids = {item.id for item in base}
    our_ids = {item.id for item in ours}
    added = [item for item in server if item.id not in base_ids and item.id not in our_ids]
    assert all(item in merged for item in added)
    assert all(item in merged for item in ours if item.id not in base_ids), "nor what we added"
    ids = [item.id for item in merged]
    assert len(ids) == len(set(ids))
    assert apply(server, diff(server, merged)) == merged


@given(items_of(), items_of())
def test_without_news_from_the_server_ours_stands(base: list[Item], ours: list[Item]) -> None:
    assert merge(base, ours, base) == ours


@given(items_of(), items_of("xyz"), st.data())
def test_without_edits_of_ours_the_servers_stands(
    base: list[Item], added: list[Item], data: st.DataObject
) -> None:
    server = [item for item in base if data.draw(st.booleans())]
    for item in added:
        server.insert(data.draw(st.integers(0, len(server))), item)
    server = [Item(item.id, "changed") if data.draw(st.booleans()) else item for item in server]
    assert merge(base, base, server) == server


@given(items_of(), items_of(), items_of())
def test_a_merge_keeps_our_order(base: list[Item], ours: list[Item], server: list[Item]) -> None:
    merged_ids = [item.id for item in merge(base, ours, server)]
    our_ids = [item.id for item in ours if item.id in merged_ids]
    assert [item_id for item_id in merged_ids if item_id in set(our_ids)] == our_ids


def test_added_items_stay_behind_what_they_followed() -> None:
    base, server = named("abc"), named("1a2b3c4")
    assert merge(base, named("abc"), server) == server
    assert merge(base, named("cab"), server) == named("1c4a2b3")
    assert merge(base, named("ac"), server) == named("1a23c4"), "b is gone, 3 stays"
    assert merge(base, named("bc"), server) == named("12b3c4"), "a is gone, 2 stays"
    assert merge(base, [], server) == named("1234")
    assert merge(base, named("abcn"), server) == named("1a2b3c4n")


def test_deletions_of_both_sides_stand() -> None:
    assert merge(named("abc"), named("bc"), named("ab")) == named("b")


def test_what_we_changed_stands_and_what_we_left_is_the_servers() -> None:
    base = named("abcd")
    ours = [Item("a", "ours"), Item("b"), Item("c", "ours"), Item("d")]
    server = [Item("a", "server"), Item("b", "server"), Item("n")]
    assert merge(base, ours, server) == [
        Item("a", "ours"),
        Item("b", "server"),
        Item("n"),
        Item("c", "ours"),
    ]


def test_what_both_added_is_ours() -> None:
    assert merge([], [Item("a", "ours")], [Item("a", "server"), Item("b")]) == [
        Item("a", "ours"),
        Item("b"),
    ]


def test_the_caller_may_say_what_equal_means_in_a_merge() -> None:
    merged = merge(
        named("a", "1"), named("a", "2"), named("a", "3"), equal=lambda a, b: a.id == b.id
    )
    assert merged == named("a", "3")


# Bad input.


@pytest.mark.parametrize("item_id", [None, "", "root", msgspec.UNSET, 3])
def test_items_without_a_usable_id_are_refused(item_id: Any) -> None:
    wrong = [Item("a"), Item(item_id)]
    with pytest.raises(LocalProtocolError, match=r"old_items\[1\]"):
        diff(wrong, [])
    with pytest.raises(LocalProtocolError, match=r"new_items\[1\]"):
        diff([], wrong)
    for position, name in enumerate(("base_items", "our_items", "server_items")):
        lists: list[list[Item]] = [[], [], []]
        lists[position] = wrong
        with pytest.raises(LocalProtocolError, match=rf"{name}\[1\]"):
            merge(*lists)


def test_two_items_of_one_id_are_refused() -> None:
    with pytest.raises(
        LocalProtocolError, match=r"old_items\[2\] has the id 'a' of old_items\[0\]"
    ):
        diff(named("aba"), [])
    with pytest.raises(LocalProtocolError, match=r"new_items\[1\]"):
        diff([], named("aa"))
