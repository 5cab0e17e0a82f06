"""All responses of a server session: one in the default conversation, any number beside it.

A response is created at once; its reply is asked of the driver as soon as the words of all spoken
items in its context are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from operator import attrgetter
from typing import Any

from msgspec import UNSET, Struct

from . import events
from ._audio import AudioFormat
from ._server_config import audio_format, check_tool_choice, check_voice
from ._server_items import Context, Record, ServerConversation
from ._server_outbox import Outbox
from ._server_response import Ending, ResponseSettings, ServerResponse
from ._server_rules import METADATA_RULES, RESPONSE_RULES, check_fields, check_known, check_rules
from ._server_terms import TermsOfSession, either
from ._server_usage import Tally
from ._server_work import Refusal, ReplyCancelled, ReplyWanted, ServerLimits

__all__ = ["Replies"]

_NO_PARAMETERS = events.ResponseParams()
_all_but_metadata = attrgetter(
    *(name for name in _NO_PARAMETERS.__struct_fields__ if name != "metadata")
)
_NOTHING_BUT_METADATA = _all_but_metadata(_NO_PARAMETERS)


_ENDED_BY_THE_DRIVER = (Ending.COMPLETED, Ending.FAILED)


class _Waiting(Struct, frozen=True):
    """A response whose reply was not asked for yet, and what it will build on."""

    response: ServerResponse
    context: Context


class Replies:
    """The responses of one session.

    Attributes:
        spoken: Whether any audio was sent, which fixes the session's voice.
        quiet_from: When the audio of the last response will have been played, in seconds, or None
            where a response is under way or there was none.

    Args:
        outbox: Where events and requests go.
        conversation: The default conversation.
        limits: The service's numbers.
        pace: How many seconds of speech are released in a second; None releases at once.
        voices: The voices that are known; empty lets any name pass.
    """

    def __init__(
        self,
        outbox: Outbox,
        conversation: ServerConversation,
        limits: ServerLimits,
        *,
        pace: float | None,
        voices: Collection[str],
    ) -> None:
        self.spoken = False
        self.quiet_from: float | None = None
        self._outbox = outbox
        self._conversation = conversation
        self._limits = limits
        self._pace = pace
        self._voices = voices
        self._responses: dict[str, ServerResponse] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._default_id: str | None = None
        self._last_id: str | None = None
        self._last_heard = Tally()
        self._tokens_used = 0
        self._terms = TermsOfSession()

    def get(self, response_id: str) -> ServerResponse | None:
        """A response that goes on, or None."""
        return self._responses.get(response_id)

    def next_deadline(self) -> float | None:
        """When the next delta is to be released, or None."""
        if not self._responses:
            return None
        deadlines = (response.next_deadline for response in self._responses.values())
        return min((when for when in deadlines if when is not None), default=None)

    def create(
        self,
        session: events.RealtimeSession,
        given: events.ResponseParams | None,
        now: float,
    ) -> list[Record]:
        """Answer `response.create`, or begin the response that the server starts by itself.

        Args:
            session: The configuration in force.
            given: The client's parameters, or None.
            now: The time, in seconds.

        Returns:
            Items of its own input that are spoken and whose words are not known yet.

        Raises:
            Refusal: A parameter is not acceptable, or the conversation has an active response.
        """
        given = given or _NO_PARAMETERS
        self._check(session, given)
        beside = given.conversation == "none"
        context = self._context(session, given)
        if not beside and self._default_id is not None:
            raise Refusal(
                f"Conversation already has an active response in progress: {self._default_id}. "
                "Wait until the response is finished before creating a new one.",
                code="conversation_already_has_active_response",
            )
        settings = ResponseSettings(
            conversation=None if beside else self._conversation,
            metadata=None if given.metadata is UNSET else given.metadata,
            delta_ms=self._limits.delta_ms,
            pace=self._pace,
        )
        response = ServerResponse(self._outbox, self._terms.of(session, given), settings, now)
        self._responses[response.id] = response
        if not beside:
            self._default_id = response.id
            self.quiet_from = None
        self._last_id = response.id
        unheard = context.unheard
        if unheard:
            self._waiting[response.id] = _Waiting(response, context)
        else:
            self._outbox.ask(self._reply(response, context))
        return unheard

    def cancel(self, response_id: Any, now: float) -> None:
        """Answer `response.cancel`.

        Args:
            response_id: The response, or anything but a text for that of the default conversation.
            now: The time, in seconds.

        Raises:
            Refusal: There is no such response.
        """
        wanted = response_id if isinstance(response_id, str) else self._default_id
        response = self._responses.get(wanted or "")
        if response is None:
            raise Refusal(
                "Cancellation failed: no active response found",
                code="response_cancel_not_active",
                param="response_id" if isinstance(response_id, str) else None,
            )
        self._end(response, Ending.CLIENT_CANCELLED, now)

    def interrupt(self, now: float) -> None:
        """The user has begun to speak: cancel the default conversation's response, if any."""
        response = self._responses.get(self._default_id or "")
        if response is not None:
            self._end(response, Ending.TURN_DETECTED, now)

    def clear_output(self) -> None:
        """Answer `output_audio_buffer.clear`. A WebSocket has no such buffer: nothing else changes.

        Raises:
            Refusal: No response has been there yet.
        """
        if self._last_id is None:
            raise Refusal("No response has produced audio yet.", code="invalid_value")
        self._outbox.emit(events.OutputAudioBufferCleared(response_id=self._last_id))

    def stop(self) -> None:
        """The client has gone: tell the driver to stop; nothing is sent any more."""
        for response_id in self._responses:
            if response_id not in self._waiting:
                self._outbox.ask(ReplyCancelled(response_id))
        self._responses.clear()
        self._waiting.clear()
        self._default_id = None

    def ask_replies(self) -> None:
        """Ask for every reply whose context is known by now."""
        for response_id, waiting in list(self._waiting.items()):
            if not waiting.context.unheard:
                del self._waiting[response_id]
                self._outbox.ask(self._reply(waiting.response, waiting.context))

    def release(self, now: float) -> None:
        """Release what is due, and settle the responses that have ended."""
        if not self._responses:
            return
        for response in list(self._responses.values()):
            response.release(now)
            self.spoken = self.spoken or response.spoken_ms > 0
            if response.ending is not None:
                self._settle(response, now)

    def _end(self, response: ServerResponse, ending: Ending, now: float) -> None:
        response.end(ending)
        self._settle(response, now)

    def _settle(self, response: ServerResponse, now: float) -> None:
        del self._responses[response.id]
        asked = self._waiting.pop(response.id, None) is None
        if asked and response.ending not in _ENDED_BY_THE_DRIVER:
            self._outbox.ask(ReplyCancelled(response.id))
        if response.id == self._default_id:
            self._default_id = None
            self.quiet_from = now + response.spoken_ms / 1000
            self._last_heard = response.heard
        self._tokens_used += response.heard.total
        limit = self._limits.tokens_per_minute
        remaining = max(0, limit - self._tokens_used % limit)
        self._outbox.emit(
            events.RateLimitsUpdated(
                rate_limits=[
                    events.RateLimit(
                        name="tokens",
                        limit=limit,
                        remaining=remaining,
                        reset_seconds=round((limit - remaining) * 60 / limit, 3),
                    )
                ]
            )
        )

    def _check(self, session: events.RealtimeSession, given: events.ResponseParams) -> None:
        if _all_but_metadata(given) == _NOTHING_BUT_METADATA:  # as nearly always: a shortcut
            check_rules(given, METADATA_RULES, "response")
            return
        check_fields(given, "response", but="input")
        for name in () if given.extra is events.NO_EXTRA else given.extra:
            param = f"response.{name}"
            raise Refusal(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)
        check_rules(given, RESPONSE_RULES, "response")
        check_voice(session, given, "response", voices=self._voices, spoken=self.spoken)
        tools = either(given.tools, session.tools, [])
        check_tool_choice(given.tool_choice, tools, "response.tool_choice")

    def _context(self, session: events.RealtimeSession, given: events.ResponseParams) -> Context:
        if not isinstance(given.input, list):
            return self._conversation.context()
        audio = audio_format(session, "audio.input.format")
        return Context((), Tally(), list(self._own_input(given.input, audio)))

    def _own_input(self, items: list[events.InputItem], audio: AudioFormat) -> Iterator[Record]:
        calls: set[str] = set()
        for index, item in enumerate(items):
            path = f"response.input[{index}]"
            if isinstance(item, events.ItemReference):
                check_known(item, path)
                record = self._conversation.get(item.id)
                if record is None:
                    raise Refusal(
                        f"Item with id '{item.id}' not found.",
                        code="invalid_value",
                        param=f"{path}.id",
                    )
                yield record
                continue
            if isinstance(item, events.FunctionCall):
                calls.add(item.call_id)
            yield self._conversation.accepted(item, audio, path, known_calls=calls)

    def _reply(self, response: ServerResponse, context: Context) -> ReplyWanted:
        terms = response.terms
        history, tally = context.read()
        response.heard = tally + Tally(text=terms.tokens)
        response.cached = response.heard.cached(self._last_heard)
        return ReplyWanted(
            response_id=response.id,
            history=history,
            instructions=terms.instructions,
            tools=() if terms.tool_choice == "none" else terms.tools,
            tool_choice=terms.tool_choice,
            audio=terms.audio,
            voice=terms.voice,
            speed=terms.speed,
        )
