"""Which items a client may create: the checks that need nothing but the item."""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec import UNSET

from . import events
from ._audio import AudioFormat
from ._server_input import Sound
from ._server_rules import Rule, Rules, check_object, check_rules
from ._server_work import Refusal

__all__ = ["checked_item"]

_PARTS_OF_ROLE: dict[str, dict[type, str]] = {
    "system": {events.InputText: "input_text"},
    "user": {
        events.InputText: "input_text",
        events.InputAudio: "input_audio",
        events.InputImage: "input_image",
    },
    "assistant": {events.OutputText: "output_text", events.OutputAudio: "output_audio"},
}
_IMAGE_RULES = Rules(
    Rule(
        "detail",
        lambda value: value in ("auto", "low", "high"),
        "Supported values are: 'auto', 'low', and 'high'.",
    ),
)


def checked_item(
    item: events.Item, audio: AudioFormat, path: str
) -> tuple[events.Item, Sound | None]:
    """Check an item of the client.

    Args:
        item: The client's item.
        audio: The format in which a user's audio part is read.
        path: JSON path of the item in its event.

    Returns:
        The item without audio bytes, and its sound if it has any.

    Raises:
        Refusal: It is not acceptable.
    """
    if type(item) is events.UnknownItem:
        raise Refusal(
            f"Invalid value: '{item.type}'. Supported values are: 'message', 'function_call', "
            "'function_call_output', and the MCP items.",
            code="invalid_value",
            param=f"{path}.type",
        )
    check_object(item, path)
    if isinstance(item, events.Message):
        return _checked_message(item, audio, path)
    if isinstance(item, events.McpListTools):
        _check_mcp_tools(item, path)
    return item, None


def _check_mcp_tools(item: events.McpListTools, path: str) -> None:
    for index, tool in enumerate(item.tools):
        if tool.input_schema is UNSET:
            raise Refusal(
                f"Missing required parameter: '{path}.tools[{index}].input_schema'.",
                code="missing_required_parameter",
                param=f"{path}.tools[{index}].input_schema",
            )


def _checked_message(
    item: events.Message, audio: AudioFormat, path: str
) -> tuple[events.Message, Sound | None]:
    allowed = _PARTS_OF_ROLE.get(item.role)
    if allowed is None:
        raise Refusal(
            f"Invalid value: '{item.role}'. "
            "Supported values are: 'system', 'user', and 'assistant'.",
            code="invalid_value",
            param=f"{path}.role",
        )
    parts: list[events.Part] = []
    sound: Sound | None = None
    for index, part in enumerate(item.content):
        where = f"{path}.content[{index}]"
        if type(part) not in allowed:
            raise Refusal(
                f"Invalid value: '{part.type}'. Supported values for role '{item.role}' are: "
                + ", ".join(f"'{name}'" for name in allowed.values())
                + ".",
                code="invalid_value",
                param=f"{where}.type",
            )
        if type(part) is events.InputImage:
            check_rules(part, _IMAGE_RULES, where)
        if type(part) is events.InputAudio or type(part) is events.OutputAudio:
            checked, sound = _checked_sound(part, sound, audio, where)
            parts.append(checked)
        else:
            parts.append(part)
    return item if sound is None else msgspec.structs.replace(item, content=parts), sound


def _checked_sound(
    part: events.InputAudio | events.OutputAudio,
    sound: Sound | None,
    audio: AudioFormat,
    where: str,
) -> tuple[events.InputAudio | events.OutputAudio, Sound | None]:
    if isinstance(part, events.OutputAudio):
        if isinstance(part.audio, str) and part.audio:
            raise Refusal(
                "Assistant messages cannot be given audio; give the transcript.",
                code="invalid_value",
                param=f"{where}.audio",
            )
        return part, sound
    if not isinstance(part.audio, str):
        raise Refusal(
            f"Missing required parameter: '{where}.audio'.",
            code="missing_required_parameter",
            param=f"{where}.audio",
        )
    sound = sound or Sound(audio)
    try:
        sound.data += base64.b64decode(part.audio, validate=True)
    except binascii.Error:
        raise Refusal(
            f"Invalid '{where}.audio': not base64.", code="invalid_value", param=f"{where}.audio"
        ) from None
    return msgspec.structs.replace(part, audio=UNSET), sound
