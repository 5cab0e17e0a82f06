"""Images on their way into a message (parity I3, R12)."""

from __future__ import annotations

import base64

from msgspec import UNSET, UnsetType

from . import events
from ._errors import LocalProtocolError

__all__ = ["MAX_IMAGE_BYTES", "image_part"]

MAX_IMAGE_BYTES = 10 * 1024 * 1024
"""So that, written in base64, an event stays well below the service's 16 MiB a message."""

# What a file of each kind begins with (PNG: RFC 2083; JPEG: ITU-T T.81; GIF89a; WebP: RIFF container).
_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
)


def image_part(
    data: bytes, *, media_type: str | None = None, detail: str | UnsetType = UNSET
) -> events.InputImage:
    """The content part of an image, to be given to `send_message`.

    Args:
        data: The file's bytes: PNG, JPEG, GIF or WebP.
        media_type: What it is, such as `image/png`; None: found by how it begins.
        detail: `low`, `high` or `auto`: how closely the model looks.

    Raises:
        LocalProtocolError: It is empty, too large, or of no kind that is known.
    """
    if not 0 < len(data) <= MAX_IMAGE_BYTES:
        raise LocalProtocolError(
            f"an image has 1 to {MAX_IMAGE_BYTES:,} bytes, not {len(data):,}; make it smaller"
        )
    found = media_type or next(
        (kind for start, kind in _SIGNATURES if data.startswith(start)), None
    )
    if found is None or not found.startswith("image/"):
        raise LocalProtocolError(
            "the data is no PNG, JPEG, GIF or WebP image; say what it is with media_type='image/...'"
        )
    url = f"data:{found};base64,{base64.b64encode(data).decode('ascii')}"
    return events.InputImage(image_url=url, detail=detail)
