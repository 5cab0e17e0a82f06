"""Images into the conversation (I3, R12)."""

from __future__ import annotations

import base64

import pytest
from pair import Pair

from sansio_rt import LocalProtocolError, events, image_part
from sansio_rt._images import MAX_IMAGE_BYTES

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


def test_an_image_and_text_in_one_message() -> None:
    pair = Pair().connect()
    pair.client.send_message(["What is this?", image_part(PNG, detail="low")])
    pair.run()
    (item,) = pair.server.session.items
    assert isinstance(item, events.Message)
    image = item.content[1]
    assert isinstance(image, events.InputImage)
    assert image.image_url == "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert image.detail == "low"


@pytest.mark.parametrize(
    ("start", "kind"), [(b"\xff\xd8\xff", "jpeg"), (b"GIF89a", "gif"), (b"RIFF....WEBP", "webp")]
)
def test_kinds_are_found_by_how_they_begin(start: bytes, kind: str) -> None:
    assert str(image_part(start + bytes(9)).image_url).startswith(f"data:image/{kind};base64,")


def test_another_kind_can_be_named() -> None:
    assert "image/avif" in str(image_part(b"x", media_type="image/avif").image_url)


@pytest.mark.parametrize(
    ("data", "media_type"),
    [(b"", None), (b"text", None), (PNG, "text/html"), (bytes(MAX_IMAGE_BYTES + 1), "image/png")],
)
def test_what_is_no_image_is_refused(data: bytes, media_type: str | None) -> None:
    with pytest.raises(LocalProtocolError):
        image_part(data, media_type=media_type)
