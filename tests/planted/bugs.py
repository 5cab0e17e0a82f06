"""The planted bugs: each is one small replacement that a tired hand could have made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Which tools reach the code at all: the others are not run, and their cells stay empty.
SESSION = ("unit", "machine", "simulation", "corpus", "fuzz", "faults")
"""Bugs of the core that any session may meet."""
GIVEN_UP = (*SESSION, "cancellation")
"""Those that have to do with callers who give up."""
PIECE = ("unit", "corpus", "fuzz")
"""Bugs of one layer with a fuzz target of its own, which no honest server meets."""
ADAPTER = ("unit", "faults")
"""Bugs of `trio_rt`."""
WAITING = (*ADAPTER, "cancellation")
"""Those that have to do with tasks that wait."""


@dataclass(frozen=True)
class Bug:
    """A bug that can be planted.

    Attributes:
        name: Its name.
        what: What goes wrong, in a sentence.
        file: Where, from the root of the repository.
        old: The text that is replaced; it is in the file exactly once.
        new: What takes its place.
        tests: The unit tests of that code, from `tests/`.
        tools: Which tools reach it.
        fuzz: The fuzz target that reaches it.
    """

    name: str
    what: str
    file: str
    old: str
    new: str
    tests: Sequence[str]
    tools: Sequence[str] = SESSION
    fuzz: str = "client"

    def planted(self, text: str) -> str:
        """The file's text with the bug in it.

        Raises:
            LookupError: The text that is to be replaced is not there exactly once.
        """
        count = text.count(self.old)
        if count != 1:
            raise LookupError(f"{self.name}: the old text is {count} times in {self.file}")
        return text.replace(self.old, self.new)


BUGS = (
    # --- what was heard ---------------------------------------------------------------------
    Bug(
        name="truncation_off_by_one",
        what="An answer is cut one millisecond behind what was heard.",
        file="sansio_rt/_cuts.py",
        old="        end_ms = int(min(audio_end_ms, received_ms))\n",
        new="        end_ms = int(min(audio_end_ms, received_ms)) + 1\n",
        tests=["sansio_rt/test_client_history.py", "sansio_rt/test_client.py"],
    ),
    Bug(
        name="playback_rounds_up",
        what="What a sink has played is rounded up to whole milliseconds instead of down.",
        file="trio_rt/_playback.py",
        old="            heard_ms = int(part.heard_ms)\n",
        new="            heard_ms = -int(-part.heard_ms // 1)\n",
        tests=["trio_rt/test_playback_account.py"],
        tools=ADAPTER,
    ),
    Bug(
        name="replay_as_generated",
        what="After a reconnect the model is told its whole answer instead of what was heard of it.",
        file="sansio_rt/_replay.py",
        old="item = as_history(entry.item, entry.heard_part)",
        new="item = as_history(entry.item)",
        tests=["sansio_rt/test_client_resume.py"],
    ),
    # --- replies ----------------------------------------------------------------------------
    Bug(
        name="arbiter_ignores_server",
        what="A response that the server began by itself does not count as active.",
        file="sansio_rt/_responses.py",
        old="self._arbiter.created(response.id, in_conversation=generation.in_conversation)",
        new="""self._arbiter.created(
            response.id, in_conversation=generation.in_conversation and reply is not None
        )""",
        tests=[
            "sansio_rt/test_arbiter.py",
            "sansio_rt/test_client.py",
            "sansio_rt/test_silence.py",
        ],
    ),
    Bug(
        name="abandoned_reply_heard",
        what="A reply whose caller gave up before it began is heard all the same.",
        file="sansio_rt/_requests.py",
        old="            return reply.command.abandoned\n",
        new="            return False\n",
        tests=["sansio_rt/test_responses_asked.py"],
        tools=GIVEN_UP,
    ),
    Bug(
        name="message_never_ends",
        what="A written message that was cut off with its response is never ended.",
        file="sansio_rt/_response_content.py",
        old="            if not message.done:\n                self._finish_message(message)",
        new="            if not message.done and message.received_samples:\n"
        "                self._finish_message(message)",
        tests=["sansio_rt/test_responses.py", "sansio_rt/test_generations.py"],
    ),
    Bug(
        name="lost_reply_never_ends",
        what="A reply beside the conversation never ends where its connection is lost.",
        file="sansio_rt/_responses.py",
        old="        for generation in list(self.open.values()):\n            self._end(",
        new="        for generation in [g for g in self.open.values() if g.in_conversation]:\n"
        "            self._end(",
        tests=["sansio_rt/test_client_epochs.py", "sansio_rt/test_client_losses.py"],
    ),
    Bug(
        name="call_ready_twice",
        what="A call that two events finish is given to its tool twice, and gets two outputs.",
        file="sansio_rt/_response_content.py",
        old="        if call.done:\n            return\n",
        new="",
        tests=["sansio_rt/test_responses.py"],
    ),
    Bug(
        name="call_run_again",
        what="A tool runs again where the server repeats a call that has its output.",
        file="trio_rt/_toolbox.py",
        old="        if state.call_id in self._seen:\n",
        new="        if state.call_id in self._calls:\n",
        tests=["trio_rt/test_toolbox_interruption.py"],
        tools=ADAPTER,
    ),
    # --- history ----------------------------------------------------------------------------
    Bug(
        name="diff_without_anchors",
        what="Of several new items in a row each is put behind the one that stays, so they turn round.",
        file="sansio_rt/_diff.py",
        old="        previous_item_id = item_id\n    return edits",
        new="        previous_item_id = item_id if item_id in stay else previous_item_id\n"
        "    return edits",
        tests=["sansio_rt/test_diff.py"],
    ),
    Bug(
        name="diff_forgets_order",
        what="Items that changed places count as staying, so that a moved item is not moved.",
        file="sansio_rt/_diff.py",
        old="        behind = bisect_left(ends, position)\n",
        new="        behind = len(ends)\n",
        tests=["sansio_rt/test_diff.py"],
    ),
    Bug(
        name="diff_not_least",
        what="The first run of items stays instead of the longest: right, but with needless edits.",
        file="sansio_rt/_diff.py",
        old="        behind = bisect_left(ends, position)\n",
        new="        behind = len(ends)\n        if bisect_left(ends, position) < behind:\n"
        "            continue\n",
        tests=["sansio_rt/test_diff.py"],
    ),
    Bug(
        name="head_item_put_last",
        what="The mirror puts an item that the server has at the head behind all others.",
        file="sansio_rt/_conversation.py",
        old="        if previous_item_id is None:\n            previous = None\n        elif",
        new="        if previous_item_id is None:\n            previous = self._tail\n        elif",
        tests=["sansio_rt/test_conversation.py"],
    ),
    # --- commands ---------------------------------------------------------------------------
    Bug(
        name="edit_never_times_out",
        what="An edit that the server does not answer waits for ever.",
        file="sansio_rt/_history.py",
        old="        self._tray.commands.start_clock(command, self._tray.now + self._answer_timeout_s)\n",
        new="",
        tests=["sansio_rt/test_client_history.py", "sansio_rt/test_known_defects.py"],
    ),
    Bug(
        name="deadline_not_reached",
        what="A command does not expire at its deadline but behind it: timers fire in a circle.",
        file="sansio_rt/_commands.py",
        old="is not None and deadline <= now:\n",
        new="is not None and deadline < now:\n",
        tests=["sansio_rt/test_commands.py"],
    ),
    Bug(
        name="late_answer_taken",
        what="The late answer to a command that timed out ends the newer one of its kind.",
        file="sansio_rt/_commands.py",
        old="            if late.pop(next(iter(late))) > now:\n                return None\n",
        new="            late.pop(next(iter(late)))\n",
        tests=["sansio_rt/test_commands.py"],
    ),
    # --- one connection after the other -----------------------------------------------------
    Bug(
        name="old_connection_heard",
        what="What the old connection still had to say is taken for the new one's.",
        file="sansio_rt/_client_core.py",
        old="        while connection is self._connection and (event := connection.next()) is not None:",
        new="        while (event := connection.next()) is not None:",
        tests=["sansio_rt/test_client_epochs.py", "sansio_rt/test_handover.py"],
    ),
    Bug(
        name="queued_events_survive",
        what="Events that were queued for a lost connection are sent on the next one.",
        file="sansio_rt/_client_life.py",
        old="        self._tray.client_events.clear()\n",
        new="",
        tests=["sansio_rt/test_client_epochs.py", "sansio_rt/test_handover.py"],
    ),
    Bug(
        name="waiting_replies_survive",
        what="Replies that waited on a lost connection are asked for on the next one.",
        file="sansio_rt/_arbiter.py",
        old="        self.waiting.clear()\n",
        new="",
        tests=["sansio_rt/test_arbiter.py", "sansio_rt/test_client_resume.py"],
    ),
    Bug(
        name="edits_lost",
        what="Items on their way to the server are lost with the connection, tool outputs among them.",
        file="sansio_rt/_client_life.py",
        old="command.kind in (CommandKind.CREATE_ITEM, CommandKind.DELETE_ITEM)",
        new="command.kind is CommandKind.DELETE_ITEM",
        tests=["sansio_rt/test_client_resume.py"],
    ),
    Bug(
        name="kept_audio_doubled",
        what="The caller's audio that was sent again is kept twice: at the next loss it is doubled.",
        file="sansio_rt/_kept_audio.py",
        old="        frames = list(self._frames)\n        self.clear()\n",
        new="        frames = list(self._frames)\n",
        tests=["sansio_rt/test_kept_audio.py", "sansio_rt/test_input.py"],
    ),
    Bug(
        name="kept_audio_lost",
        what="At a planned change of connections the beginning of a turn is lost that was not told yet.",
        file="sansio_rt/_input.py",
        old="self._kept.take_until(quiet_until_ms - _UNTOLD_MS)",
        new="self._kept.take_until(quiet_until_ms)",
        tests=["sansio_rt/test_input.py", "sansio_rt/test_handover_audio.py"],
    ),
    Bug(
        name="failures_reset_on_connect",
        what="Each connect starts the delays anew, so a server that accepts and closes is hammered.",
        file="sansio_rt/_retry.py",
        old='        """The connection is up, configured and replayed."""\n',
        new='        """The connection is up, configured and replayed."""\n        self._failures = 0\n',
        tests=["sansio_rt/test_retry.py"],
    ),
    Bug(
        name="budget_ignored",
        what="The bound on connects within a window is never reached.",
        file="sansio_rt/_retry.py",
        old="        if len(self._connects) == policy.max_connects:\n",
        new="        if len(self._connects) > policy.max_connects:\n",
        tests=["sansio_rt/test_retry.py"],
    ),
    Bug(
        name="rotation_cuts_calls",
        what="A planned change of connections does not wait for tools that still run.",
        file="sansio_rt/_responses.py",
        old="return not any(call.generation.in_conversation for call in self._requests.calls.values())",
        new="return True",
        tests=["sansio_rt/test_handover.py"],
    ),
    Bug(
        name="liveness_never_fires",
        what="A server that takes audio and says nothing is never found out.",
        file="sansio_rt/_client_life.py",
        old="        if frames:\n            self._liveness.appended_at = self._tray.now\n",
        new="",
        tests=["sansio_rt/test_keepalive.py", "sansio_rt/test_liveness.py"],
    ),
    Bug(
        name="keepalive_pings_for_ever",
        what="A peer that answers no ping is pinged again and never given up.",
        file="sansio_rt/_keepalive.py",
        old="        self._pinged_at = now\n        self._unanswered.append(now)\n        self.deadline",
        new="        self._unanswered.append(now)\n        self.deadline",
        tests=["sansio_rt/test_keepalive.py"],
    ),
    # --- bytes and messages -----------------------------------------------------------------
    Bug(
        name="fast_lane_takes_masked",
        what="The fast lane of the wire takes a masked frame of a server for an honest one.",
        file="sansio_rt/_frames.py",
        old="            and (second >= _MASKED) is self._peer_masks\n",
        new="",
        tests=["sansio_rt/test_wire_frames.py"],
        tools=PIECE,
        fuzz="wire_client",
    ),
    Bug(
        name="fast_lane_takes_oversized",
        what="The fast lane of the wire takes a message above the size limit.",
        file="sansio_rt/_frames.py",
        old="            and payload_bytes <= self._max_message_bytes\n",
        new="",
        tests=["sansio_rt/test_wire_frames.py"],
        tools=PIECE,
        fuzz="wire_client",
    ),
    Bug(
        name="fast_lane_takes_bad_text",
        what="The fast lane of the wire gives out text that is not UTF-8.",
        file="sansio_rt/_frames.py",
        old="            if is_utf8(payload):\n                self._emit(",
        new="            if payload or True:\n                self._emit(",
        tests=["sansio_rt/test_wire_frames.py"],
        tools=PIECE,
        fuzz="wire_client",
    ),
    Bug(
        name="codec_drops_unknown",
        what="The codec drops fields that this version does not know.",
        file="sansio_rt/events/_convert.py",
        old='        if extra:\n            values["extra"] = extra\n',
        new="",
        tests=["sansio_rt/test_codec.py"],
        tools=PIECE,
        fuzz="codec",
    ),
    Bug(
        name="codec_drops_unknown_null",
        what="The codec drops fields that it does not know where they are null.",
        file="sansio_rt/events/_convert.py",
        old="                if key != tag_field:\n",
        new="                if key != tag_field and value is not None:\n",
        tests=["sansio_rt/test_codec.py"],
        tools=PIECE,
        fuzz="codec",
    ),
    Bug(
        name="beta_loses_settings",
        what="Of two settings of the beta that have one place in the GA the first is lost.",
        file="sansio_rt/_beta.py",
        old="            target[step] = {**inner} if _is_object(inner) else {}\n",
        new="            target[step] = {}\n",
        tests=["sansio_rt/test_dialects.py"],
        tools=PIECE,
        fuzz="dialect_beta",
    ),
    Bug(
        name="beta_misnames_field",
        what="A reply's bound on tokens goes to a server of the beta under the GA's name.",
        file="sansio_rt/_beta.py",
        old="_RESPONSE_PARAMS: Final = _shape(\n    *_SPEECH,\n    *_TOOLS,\n    *_TOKENS,\n",
        new="_RESPONSE_PARAMS: Final = _shape(\n    *_SPEECH,\n    *_TOOLS,\n",
        tests=["sansio_rt/test_dialects.py"],
        tools=PIECE,
        fuzz="dialect_beta",
    ),
    Bug(
        name="resampler_drifts",
        what="The resampler loses the last sample of each piece that has an odd number of them.",
        file="sansio_rt/_resampler.py",
        old="resample_chunk(samples.astype(np.float32))",
        new="resample_chunk(samples[: len(samples) // 2 * 2].astype(np.float32))",
        tests=["sansio_rt/test_audio.py"],
        tools=PIECE,
        fuzz="audio_formats",
    ),
    Bug(
        name="key_in_error",
        what="A refusal that repeats our key shows it in the error.",
        file="sansio_rt/_redaction.py",
        old="            body=self.text(error.body),\n",
        new="            body=error.body,\n",
        tests=["sansio_rt/test_redaction.py"],
        tools=PIECE,
    ),
    # --- trio -------------------------------------------------------------------------------
    Bug(
        name="stream_end_lost",
        what="Who waits for the next piece of a stream is not told that it has ended.",
        file="trio_rt/_streams.py",
        old="            self._error = error\n            self._readers.unpark_all()\n",
        new="            self._error = error\n",
        tests=["trio_rt/test_streams.py"],
        tools=WAITING,
    ),
    Bug(
        name="cancelled_reply_runs_on",
        what="A cancelled `generate_reply` leaves its response running.",
        file="trio_rt/_session_core.py",
        old="                self._protocol.abandon(command)\n",
        new="",
        tests=["trio_rt/test_session.py", "trio_rt/test_session_calls.py"],
        tools=WAITING,
    ),
    Bug(
        name="stream_leaks_at_rotation",
        what="A stream that was dialled for a change of connections that is off stays open.",
        file="trio_rt/_connections.py",
        old="            await trio.aclose_forcefully(stream)\n            return\n",
        new="            return\n",
        tests=["trio_rt/test_rotation.py"],
        tools=WAITING,
    ),
    Bug(
        name="room_never_comes",
        what="Who waits for room in the socket is not woken when there is some.",
        file="trio_rt/_pump.py",
        old="                    self._sending = False\n                    self._room.unpark_all()\n",
        new="                    self._sending = False\n",
        tests=["trio_rt/test_session.py", "trio_rt/test_session_calls.py"],
        tools=WAITING,
    ),
)
"""All of them, one at a time."""
