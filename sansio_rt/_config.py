"""What a session should be: one flat, frozen value, and what it becomes on the wire.

A setting has three states: `UNSET` (left to the SDK's default, or out where there is none), None (the
feature is switched off) and a value. Spec: the reference's `session.update`; parity rows S1 to S5, S8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from msgspec import UNSET, Struct, UnsetType

from . import events
from ._audio import AudioFormat
from ._dialects import DEFAULTS
from ._endpoint import Dialect
from ._errors import ConfigurationError, ToolDefinitionError
from ._tools import Tool, check_tools, tool, tool_choice

__all__ = [
    "Limits",
    "SessionConfig",
    "Timing",
]

DEFAULT_TURN_DETECTION = events.ServerVad(
    threshold=0.5,
    prefix_padding_ms=300,
    silence_duration_ms=200,
    create_response=True,
    interrupt_response=True,
)

_NO_INPUT, _NO_OUTPUT, _NO_AUDIO = events.AudioInput(), events.AudioOutput(), events.AudioConfig()

TurnDetection = events.ServerVad | events.SemanticVad
ToolDefinition = Tool | events.FunctionTool | events.McpTool
ToolSource = ToolDefinition | Callable[..., Any]
ToolChoice = str | Tool | events.ToolChoiceFunction | events.ToolChoiceMcp
WireTools = list[events.ToolEntry]
WireToolChoice = str | events.ToolChoiceFunction | events.ToolChoiceMcp


class SessionConfig(Struct, frozen=True, kw_only=True):
    """The settings of a conversation, flat, as an application thinks of them.

    Every field is `UNSET` until it is given. `UNSET` fields get the SDK's default from `with_defaults`
    (the service's default where that has none); None switches a feature off.
    """

    model: str | UnsetType = UNSET
    """Model name. Default: the endpoint's, which is in the URL, too; the service refuses another one."""
    instructions: str | UnsetType = UNSET
    """The system prompt."""
    voice: str | UnsetType = UNSET
    """Voice name; fixed by the service once audio was produced. Default `marin`."""
    output_modalities: Sequence[str] | UnsetType = UNSET
    """`["audio"]` or `["text"]`."""
    input_audio_format: AudioFormat | UnsetType = UNSET
    """Default PCM16, 24 kHz, mono."""
    output_audio_format: AudioFormat | UnsetType = UNSET
    """Default PCM16, 24 kHz, mono."""
    turn_detection: TurnDetection | UnsetType | None = UNSET
    """Default server VAD; None: the application commits turns itself."""
    transcription: events.Transcription | UnsetType | None = UNSET
    """Transcription of the caller's audio. Default `gpt-4o-mini-transcribe`; None: none."""
    noise_reduction: events.NoiseReduction | UnsetType | None = UNSET
    """`near_field` or `far_field`; None: none."""
    tools: Any = UNSET
    """A sequence of functions (plain or `Tool`), raw function schemas and MCP servers."""
    tool_choice: Any = UNSET
    """`auto`, `none`, `required`, the name of one tool, or a structured choice. Default `auto`."""
    max_output_tokens: int | str | UnsetType = UNSET
    """1 to 4096, or `"inf"`, which is the default."""
    speed: float | UnsetType = UNSET
    """Speed of the spoken answer, 0.25 to 1.5."""
    tracing: Any = UNSET
    """`"auto"`, a tracing configuration, or None."""
    truncation: Any = UNSET
    """`"auto"`, `"disabled"`, or a retention-ratio truncation."""
    reasoning: Any = UNSET
    """Reasoning effort, for models that reason."""
    include: Sequence[str] | UnsetType | None = UNSET
    """Extra output, such as `item.input_audio_transcription.logprobs`."""
    prompt: Any = UNSET
    """A stored prompt: id, version, variables."""
    parallel_tool_calls: bool | UnsetType = UNSET
    """Whether one response may hold several calls."""
    temperature: float | UnsetType = UNSET
    """Beta dialect only."""

    def __post_init__(self) -> None:
        """Refuses what no service accepts.

        Raises:
            ConfigurationError: A value is outside its range; the message names the field.
        """
        if not isinstance(self.speed, UnsetType) and not 0.25 <= self.speed <= 1.5:
            raise ConfigurationError(f"speed={self.speed!r}: give a number from 0.25 to 1.5")
        tokens = self.max_output_tokens
        if not isinstance(tokens, UnsetType) and not (
            tokens == "inf" or (isinstance(tokens, int) and 1 <= tokens <= 4096)
        ):
            raise ConfigurationError(f'max_output_tokens={tokens!r}: give 1 to 4096, or "inf"')
        if not isinstance(self.tools, UnsetType):
            msgspec.structs.force_setattr(self, "tools", make_tools(self.tools))
        for name in ("output_modalities", "include"):
            value: Any = getattr(self, name)
            if value is not None and value is not UNSET:  # so that equal settings compare as equal
                msgspec.structs.force_setattr(self, name, tuple(value))

    def given(self) -> dict[str, Any]:
        """The fields that are not `UNSET`, by name."""
        return {
            name: value
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not UNSET
        }

    def merge(self, changes: Mapping[str, Any]) -> SessionConfig:
        """A copy with some fields replaced.

        Args:
            changes: New values by field name.

        Raises:
            ConfigurationError: A name is no field, or a value is out of range.
        """
        unknown = [name for name in changes if name not in self.__struct_fields__]
        if unknown:
            raise ConfigurationError(
                f"no such setting: {', '.join(unknown)}; SessionConfig has "
                f"{', '.join(self.__struct_fields__)}"
            )
        return msgspec.structs.replace(self, **changes)

    def with_defaults(
        self,
        dialect: Dialect = Dialect.GA,
        *,
        attached: bool = False,
        model: str | None = None,
    ) -> SessionConfig:
        """The configuration with the SDK's defaults in the place of `UNSET` (row S1).

        Args:
            dialect: The server's dialect, whose voices and transcription differ.
            attached: The session joins a call that exists; its audio formats are left alone (row S8).
            model: The endpoint's model, where that is what a session calls it.
        """
        of_dialect = DEFAULTS[dialect]
        defaults: dict[str, Any] = {
            "voice": of_dialect.voice,
            "output_modalities": ["audio"],
            "turn_detection": DEFAULT_TURN_DETECTION,
            "transcription": events.Transcription(model=of_dialect.transcription_model),
            "tool_choice": "auto",
            "max_output_tokens": "inf",
        }
        if of_dialect.temperature is not None:
            defaults["temperature"] = of_dialect.temperature
        if model is not None:
            defaults["model"] = model
        if not attached:
            defaults |= {
                "input_audio_format": AudioFormat.PCM16,
                "output_audio_format": AudioFormat.PCM16,
            }
        left = {name: value for name, value in defaults.items() if getattr(self, name) is UNSET}
        return msgspec.structs.replace(self, **left)

    def changes_from(self, other: SessionConfig) -> SessionConfig:
        """Only the fields in which this configuration differs from another one (row S3)."""
        before = other.given()
        return SessionConfig(
            **{
                name: value
                for name, value in self.given().items()
                if name not in before or not _same(before[name], value)
            }
        )

    def to_wire(self) -> events.RealtimeSession:
        """The `session` object of a `session.update`; `UNSET` fields are left out."""
        audio_input = events.AudioInput(
            format=_format_to_wire(self.input_audio_format),
            transcription=self.transcription,
            noise_reduction=self.noise_reduction,
            turn_detection=self.turn_detection,
        )
        audio_output = events.AudioOutput(
            format=_format_to_wire(self.output_audio_format), voice=self.voice, speed=self.speed
        )
        audio = events.AudioConfig(
            input=audio_input if audio_input != _NO_INPUT else UNSET,
            output=audio_output if audio_output != _NO_OUTPUT else UNSET,
        )
        return events.RealtimeSession(
            model=self.model,
            instructions=self.instructions,
            output_modalities=_listed(self.output_modalities),
            audio=audio if audio != _NO_AUDIO else UNSET,
            tools=tools_to_wire(self.tools),
            tool_choice=tool_choice_to_wire(self.tool_choice, self.tools),
            max_output_tokens=self.max_output_tokens,
            tracing=self.tracing,
            truncation=self.truncation,
            reasoning=self.reasoning,
            include=None if self.include is None else _listed(self.include),
            prompt=self.prompt,
            parallel_tool_calls=self.parallel_tool_calls,
            # No field of the GA; its dialect refuses it by name, the beta's takes it from here.
            extra=events.NO_EXTRA
            if self.temperature is UNSET
            else {"temperature": self.temperature},
        )


def _format_to_wire(
    audio_format: AudioFormat | UnsetType,
) -> events.PcmFormat | events.PcmuFormat | events.PcmaFormat | UnsetType:
    match audio_format:
        case AudioFormat.PCM16:
            return events.PcmFormat(rate=24000)
        case AudioFormat.PCMU:
            return events.PcmuFormat()
        case AudioFormat.PCMA:
            return events.PcmaFormat()
        case _:
            return UNSET


def format_from_wire(told: object) -> AudioFormat | UnsetType:
    """The audio format that the service tells, or `UNSET` where it is none that is known."""
    match told:
        case events.PcmFormat():
            return AudioFormat.PCM16
        case events.PcmuFormat():
            return AudioFormat.PCMU
        case events.PcmaFormat():
            return AudioFormat.PCMA
        case _:
            return UNSET


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and _comparable(one) == _comparable(other)


def _comparable(value: object) -> object:
    """Tools are the same where they say the same to the model."""
    if isinstance(value, Tool):
        return value.definition()
    if isinstance(value, tuple):
        return [_comparable(entry) for entry in cast("tuple[object, ...]", value)]
    return value


def _listed(values: Sequence[str] | UnsetType) -> list[str] | UnsetType:
    return values if isinstance(values, UnsetType) else list(values)


def make_tools(sources: Sequence[ToolSource]) -> tuple[ToolDefinition, ...]:
    """Functions become tools, definitions stay (parity T1 to T3).

    Raises:
        ToolDefinitionError: A function cannot become a tool, or two tools have one name.
    """
    tools = tuple(
        entry if isinstance(entry, (Tool, events.FunctionTool, events.McpTool)) else tool(entry)
        for entry in sources
    )
    check_tools([entry for entry in tools if isinstance(entry, Tool)])
    names = [str(entry.name) for entry in tools if not isinstance(entry, events.McpTool)]
    for name in names:
        if names.count(name) > 1:
            raise ToolDefinitionError(f"two tools are called {name}; give one of them another name")
    return tools


def tools_to_wire(tools: Sequence[ToolDefinition] | UnsetType) -> WireTools | UnsetType:
    """The wire form of tools; `UNSET` stays `UNSET`."""
    if isinstance(tools, UnsetType):
        return UNSET
    return [entry.definition() if isinstance(entry, Tool) else entry for entry in tools]


def tool_choice_to_wire(
    choice: ToolChoice | UnsetType, tools: Sequence[ToolDefinition] | UnsetType
) -> WireToolChoice | UnsetType:
    """The wire form of a tool choice: a bare tool name becomes the structured form (parity T4).

    Args:
        choice: `auto`, `none`, `required`, a tool or its name, or a structured choice.
        tools: The tools that are declared; a named function must be among them where they are given.

    Raises:
        ConfigurationError: The named tool is not declared.
    """
    if isinstance(choice, UnsetType):
        return UNSET
    wire = tool_choice(choice)
    if isinstance(wire, events.ToolChoiceFunction) and not isinstance(tools, UnsetType):
        names = [str(entry.name) for entry in tools if not isinstance(entry, events.McpTool)]
        if wire.name not in names:
            raise ConfigurationError(
                f"tool_choice={wire.name!r}: no tool of that name is declared (there are: "
                f"{', '.join(names) or 'none'}); give auto, none, required or a tool's name"
            )
    return wire


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on what a peer or a slow consumer can make the session hold."""

    max_message_bytes: int = 16 * 1024 * 1024
    """The largest message accepted; a larger one closes the connection with 1009."""
    max_output_bytes: int = 512 * 1024
    """Unsent bytes above which `push_audio` in `trio_rt` waits."""
    max_pending_commands: int = 16_384
    """Commands that may wait for an answer at once."""
    max_open_responses: int = 64
    """Responses in flight at once; further ones that nobody asked for are reported and ignored."""
    max_response_bytes: int = 8 * 1024 * 1024
    """What one response may hold of text, transcripts, calls and finished items; audio is not held."""
    max_items: int = 50_000
    """Items of the conversation; more of them end the session, as do bigger ones and bigger responses."""
    max_conversation_bytes: int = 1024 * 1024 * 1024
    """What those may hold together; images count, audio is not held."""
    max_kept_audio_s: float = 30.0
    """The caller's audio that is kept for another connection, in seconds; beyond it the oldest goes. A
    longer turn cannot be moved by `update_conversation` before its words are known."""
    max_text_recoveries: int | None = None
    """How often a text in the place of audio is asked for again; None: 5 in the beta, 0 in the GA."""
    max_stream_bytes: int = 32 * 1024 * 1024
    """What one unread stream may hold before it fails alone; a piece counts 256 bytes beside its data. In
    `trio_rt` the generations in `session.generations` that nobody takes hold no more together, either,
    but for the newest one: the oldest go first."""

    def __post_init__(self) -> None:
        """Refuses limits that would let nothing through.

        Raises:
            ConfigurationError: One is out of range; the message names it.
        """
        may_be_zero = ("max_kept_audio_s", "max_text_recoveries")
        for name in self.__struct_fields__:
            value, least = getattr(self, name), 0 if name in may_be_zero else 1
            if value is not None and not value >= least:
                raise ConfigurationError(f"{name}={value!r}: give {least} or more")


class Timing(Struct, frozen=True, kw_only=True):
    """Bounds in time, in seconds, that belong to the protocol."""

    connect_timeout_s: float = 10.0
    """From `connect` to an accepted configuration."""
    answer_timeout_s: float = 10.0
    """From sending a command to its answer."""
    response_silence_s: float | None = 60.0
    """After so long without an event of a running response it is cancelled: its end may never come. Give
    more than the slowest MCP tool takes, which the service runs within a response; None: never."""
    close_timeout_s: float = 1.0
    """From our close frame to the peer's."""
    keepalive_interval_s: float | None = 20.0
    """After so long without a byte of the peer it is pinged; None: never."""
    keepalive_timeout_s: float = 20.0
    """From a ping to a sign of life; beyond it the connection counts as lost."""
    liveness_after_s: float | None = 30.0
    """While audio goes out and the service says nothing for so long, it is asked for an answer; one that
    does not come within `answer_timeout_s` counts as a lost connection. None: it is never asked."""
    rotate_after_s: float | None = 1200.0
    """Age at which a connection is replaced by a new one, which is made ready before; None: never."""
    rotation_patience_s: float = 60.0
    """How long a replacement that is planned waits for a moment at which nothing is under way."""

    def __post_init__(self) -> None:
        """Refuses what is no bound.

        Raises:
            ConfigurationError: One is not positive; the message names it.
        """
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not value > 0:  # NaN is none, either
                raise ConfigurationError(f"{name}={value!r}: give more than 0 seconds")
