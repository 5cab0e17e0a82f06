"""What a response is asked to be, where request and session say it, or neither."""

from __future__ import annotations

from sansio_rt import AudioFormat, events
from sansio_rt._server_terms import Terms, TermsOfSession, terms_of
from sansio_rt._server_usage import text_tokens
from sansio_rt._server_work import OfferedTool

NOTHING = events.ResponseParams()
LOOK = events.FunctionTool(name="look", description="Looks.", parameters={"type": "object"})
OFFERED = OfferedTool(name="look", description="Looks.", parameters={"type": "object"})
SESSION = events.RealtimeSession(
    output_modalities=["text"],
    max_output_tokens=100,
    instructions="Be brief.",
    tools=[LOOK],
    tool_choice="required",
    audio=events.AudioConfig(
        output=events.AudioOutput(format=events.PcmuFormat(), voice="ash", speed=1.25)
    ),
)


def shown(wire_format: events.AudioFormat, voice: str = "alloy") -> events.AudioConfig:
    return events.AudioConfig(output=events.AudioOutput(format=wire_format, voice=voice))


def test_what_nobody_says_is_the_usual() -> None:
    assert terms_of(events.RealtimeSession(), NOTHING) == Terms(
        audio=True,
        format=AudioFormat.PCM16,
        voice="alloy",
        speed=1.0,
        max_tokens=None,
        instructions="",
        tools=(),
        tool_choice="auto",
        tokens=0,
        on_wire=shown(events.PcmFormat()),
    )


def test_what_the_request_does_not_say_is_the_sessions() -> None:
    spoken_of = "look Looks. {'type': 'object'}"
    assert terms_of(SESSION, NOTHING) == Terms(
        audio=False,
        format=AudioFormat.PCMU,
        voice="ash",
        speed=1.25,
        max_tokens=100,
        instructions="Be brief.",
        tools=(OFFERED,),
        tool_choice="required",
        tokens=text_tokens("Be brief.") + text_tokens(spoken_of),
        on_wire=shown(events.PcmuFormat(), "ash"),
    )


def test_what_the_request_says_stands() -> None:
    given = events.ResponseParams(
        output_modalities=["audio"],
        max_output_tokens="inf",
        instructions="",
        tools=[],
        tool_choice="none",
        audio=events.AudioConfig(
            output=events.AudioOutput(format=events.PcmaFormat(), voice="sage")
        ),
    )
    assert terms_of(SESSION, given) == Terms(
        audio=True,
        format=AudioFormat.PCMA,
        voice="sage",
        speed=1.25,
        max_tokens=None,
        instructions="",
        tools=(),
        tool_choice="none",
        tokens=0,
        on_wire=shown(events.PcmaFormat(), "sage"),
    )


def test_the_terms_of_a_session_are_found_once_and_anew_when_it_changes() -> None:
    found = TermsOfSession()
    terms = found.of(SESSION, NOTHING)
    assert terms == terms_of(SESSION, NOTHING)
    assert found.of(SESSION, NOTHING) is terms
    assert found.of(SESSION, events.ResponseParams(instructions="Be long.")).instructions == (
        "Be long."
    )
    assert found.of(SESSION, NOTHING) is terms
    assert found.of(events.RealtimeSession(instructions="Be kind."), NOTHING).instructions == (
        "Be kind."
    )
