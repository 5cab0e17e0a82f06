"""WAV files: every form that is read, every way to be broken, nothing written half."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import tempfile
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_rt._wav import WavError, WavWriter, read_wav, write_wav

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
TONE = np.sin(np.arange(200) * 0.1) * 0.5


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    header = struct.pack("<4sI", name, len(body) if size is None else size)
    return header + body + b"\0" * (len(body) % 2)


def form(tag: int, channels: int, rate: int, bits: int) -> bytes:
    frame = channels * bits // 8
    if tag >> 16:  # the low half says which extensible kind
        guid = struct.pack("<H", tag & 0xFFFF) + bytes.fromhex("000000001000800000aa00389b71")
        plain = struct.pack("<HHIIHH", EXTENSIBLE, channels, rate, rate * frame, frame, bits)
        return chunk(b"fmt ", plain + struct.pack("<HHI", 22, bits, 0) + guid)
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits))


def wav(*chunks: bytes) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def encoded(tag: int, bits: int) -> bytes:
    if tag & 0xFFFF == FLOAT:
        return TONE.astype(f"<f{bits // 8}").tobytes()
    if bits == 8:
        return (np.round(TONE * 127) + 128).astype(np.uint8).tobytes()
    whole = np.round(TONE * (2 ** (bits - 1) - 1)).astype("<i4")
    return whole.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()


@pytest.mark.parametrize("extensible", [0, EXTENSIBLE << 16])
@pytest.mark.parametrize(
    ("tag", "bits"), [(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)]
)
@pytest.mark.parametrize(("channels", "rate"), [(1, 8_000), (2, 44_100), (5, 48_000)])
def test_every_common_form_is_read(
    tmp_path: Path, tag: int, bits: int, extensible: int, channels: int, rate: int
) -> None:
    path = tmp_path / "a.wav"
    content = encoded(tag, bits)
    path.write_bytes(wav(form(tag | extensible, channels, rate, bits), chunk(b"data", content)))
    recording = read_wav(path)
    assert (recording.rate, recording.truncated) == (rate, False)
    assert recording.samples.shape == (200 // channels, channels)
    assert recording.samples.dtype == (np.int16 if bits <= 16 and tag == PCM else np.float32)
    assert recording.duration_s == pytest.approx(200 // channels / rate)
    scale = 32768 if recording.samples.dtype == np.int16 else 1
    assert recording.samples.reshape(-1) / scale == pytest.approx(TONE, abs=0.01)


def test_other_chunks_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    odd = chunk(b"LIST", b"odd")
    path.write_bytes(
        wav(odd, form(PCM, 1, 8000, 16), odd, chunk(b"data", b"\1\0\2\0"), chunk(b"LIST", b"end"))
    )
    assert read_wav(path).samples.tolist() == [[1], [2]]


def test_a_truncated_file_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    # 7 of 100 bytes: one frame of two channels and a part of the next one.
    path.write_bytes(wav(form(PCM, 2, 8000, 16), chunk(b"data", b"\1\0\2\0\3\0\4", size=100))[:-1])
    recording = read_wav(path)
    assert recording.truncated
    assert recording.samples.tolist() == [[1, 2]]


def test_a_file_written_to_a_pipe_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(form(PCM, 1, 8000, 16), chunk(b"data", b"\1\0", size=0xFFFFFFFF)))
    assert not read_wav(path).truncated


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"RIFF", "not a WAV file"),
        (b"ID3\x03 this is music of another kind", "not a WAV file"),
        (b"\0" * 5000, "not a WAV file"),
        (wav(), "ends before its format"),
        (wav(form(PCM, 1, 8000, 16)), "ends before its sound"),
        (wav(form(PCM, 1, 8000, 16))[:24], "ends within its format"),
        (wav(form(PCM, 1, 8000, 16), chunk(b"data", b"")), "holds no sound"),
        (wav(form(PCM, 2, 8000, 16), chunk(b"data", b"\1\0")), "holds no sound"),
        (wav(chunk(b"data", b"\1\0")), "ends before its format"),
        (wav(form(PCM, 1, 8000, 12), chunk(b"data", b"\1\0")), "kind 0x0001 with 12 bits"),
        (wav(form(7, 1, 8000, 8), chunk(b"data", b"\1\0")), "kind 0x0007 with 8 bits"),
        (wav(form(PCM, 0, 8000, 16), chunk(b"data", b"\1\0")), "0 channels"),
        (wav(form(PCM, 1, 1, 16), chunk(b"data", b"\1\0")), "1 Hz"),
        (
            wav(
                form(PCM, 1, 8000, 16).replace(b"\2\0\x10\0", b"\3\0\x10\0"),
                chunk(b"data", b"\1\0\1"),
            ),
            "contradicts itself",
        ),
        (
            wav(form(FLOAT, 1, 8000, 32), chunk(b"data", struct.pack("<f", float("nan")))),
            "no numbers",
        ),
    ],
)
def test_a_broken_file_is_a_clear_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(content)
    with pytest.raises(WavError, match=message) as caught:
        read_wav(path)
    assert str(path) in str(caught.value)
    assert ";" in str(caught.value)  # what to do stands behind it


def test_a_file_that_is_not_there_or_is_a_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WavError, match="no such file"):
        read_wav(tmp_path / "missing.wav")
    with pytest.raises(WavError, match="this is a folder"):
        read_wav(tmp_path)


@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_else(tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fuzz.wav"
        for head in (b"", b"RIFF\0\0\0\0WAVE", wav(form(PCM, 1, 8000, 16)), wav()):
            path.write_bytes(head + tail)
            with contextlib.suppress(WavError):
                assert len(read_wav(path).samples)


def test_what_is_written_is_read_back_and_others_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    write_wav(path, b"\1\0\2\0\3\0", 24_000)
    recording = read_wav(path)
    assert (recording.rate, recording.samples.tolist()) == (24_000, [[1], [2], [3]])
    with wave.open(str(path)) as other:
        assert (other.getnchannels(), other.getsampwidth(), other.getnframes()) == (1, 2, 3)
        assert other.readframes(9) == b"\1\0\2\0\3\0"


def test_a_file_appears_only_when_it_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"before")
    with WavWriter(path, 8_000) as writer:
        for _ in range(3):
            writer.write(b"\1\0" * 1000)
            assert path.read_bytes() == b"before"
    assert len(read_wav(path).samples) == 3000
    assert list(tmp_path.iterdir()) == [path]
    writer.finish()  # nothing more to do
    writer.discard()
    assert path.exists()


def test_an_error_on_the_way_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), WavWriter(path, 8_000) as writer:
        writer.write(None)  # type: ignore[arg-type] # as a caller's mistake
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    write_wav(tmp_path / "out.wav", b"\0\0", 8_000)
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WavError, match="cannot be written"):
        write_wav(tmp_path / "missing" / "out.wav", b"", 8_000)
    with pytest.raises(WavError, match="this is a folder"):
        write_wav(tmp_path, b"", 8_000)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_clear_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.wav"
    writer = WavWriter(path, 8_000)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, writer._file.fileno())
    os.close(full)
    with pytest.raises(WavError, match="No space left"):
        writer.write(bytes(1_000_000))
    assert list(tmp_path.iterdir()) == []


def test_the_sample_that_ships_is_a_short_question() -> None:
    path = Path(__file__).parents[2] / "trio_rt" / "data" / "question.wav"
    recording = read_wav(path)
    assert (recording.rate, recording.samples.shape[1]) == (24_000, 1)
    assert 1 < recording.duration_s < 4
    assert path.stat().st_size < 150_000
