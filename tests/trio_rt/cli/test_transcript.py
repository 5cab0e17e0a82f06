"""The transcript: text that only grows, one line for each utterance."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trio_rt.cli._transcript import Transcript, printable


class Page:
    def __init__(self) -> None:
        self.text = ""
        self.transcript = Transcript(
            begin=lambda who: self.put(f"{who}: "), write=self.put, finish=lambda: self.put("\n")
        )

    def put(self, text: str) -> None:
        self.text += text


def test_pieces_of_one_speaker_make_one_line_as_they_come() -> None:
    page = Page()
    page.transcript.add("assistant", " It")
    assert page.text == "assistant: It"
    page.transcript.add("assistant", " is")
    assert page.text == "assistant: It is"
    page.transcript.end("assistant")
    assert page.text == "assistant: It is\n"


def test_who_speaks_meanwhile_follows_when_the_line_is_free() -> None:
    page = Page()
    page.transcript.add("assistant", "It is")
    page.transcript.add("you", "What ")
    page.transcript.add("you", "time?")
    page.transcript.end("you")
    page.transcript.whole("tool", "one")
    page.transcript.whole("tool", "two")
    assert page.text == "assistant: It is"
    page.transcript.end("assistant")
    assert page.text == "assistant: It is\nyou: What time?\ntool: one\ntool: two\n"


def test_who_has_not_ended_gets_the_line_and_keeps_it() -> None:
    page = Page()
    page.transcript.add("assistant", "Yes")
    page.transcript.add("you", "What ")
    page.transcript.end("assistant")
    page.transcript.add("assistant", "No")
    page.transcript.add("you", "time?")
    page.transcript.end_all()
    assert page.text == "assistant: Yes\nyou: What time?\nassistant: No\n"


def test_an_interruption_breaks_the_line_and_its_speaker_begins_another() -> None:
    page = Page()
    page.transcript.add("assistant", "It")
    page.transcript.interrupt()
    page.put("WARNING\n")
    page.transcript.interrupt()
    page.transcript.add("assistant", "is")
    page.transcript.end("assistant")
    assert page.text == "assistant: It\nWARNING\nassistant: is\n"


def test_ending_what_nobody_said_prints_nothing() -> None:
    page = Page()
    page.transcript.end("you")
    page.transcript.add("you", "")
    page.transcript.end_all()
    assert page.text == ""


def test_what_steers_a_terminal_is_not_printed() -> None:
    assert printable("a\x1b[2Jb\nc\u202ed é") == "a [2Jb c d é"


@given(
    st.lists(
        st.tuples(st.sampled_from(["say", "end", "interrupt"]), st.sampled_from(["a", "b", "c"])),
        max_size=30,
    )
)
def test_nothing_is_lost_and_no_line_has_two_speakers(steps: list[tuple[str, str]]) -> None:
    page = Page()
    said = {"a": "", "b": "", "c": ""}
    for number, (step, speaker) in enumerate(steps):
        if step == "say":
            said[speaker] += f"<{number}>"
            page.transcript.add(speaker, f"<{number}>")
        elif step == "end":
            page.transcript.end(speaker)
        else:
            page.transcript.interrupt()
    page.transcript.end_all()
    shown = dict.fromkeys(said, "")
    for line in page.text.splitlines():
        speaker, _, words = line.partition(": ")
        shown[speaker] += words
    assert shown == said
