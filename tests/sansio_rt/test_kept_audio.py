"""Audio that is kept for another connection (N3, R10)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sansio_rt import AudioFormat
from sansio_rt._kept_audio import KeptAudio

FORMATS = list(AudioFormat)


def kept(audio_format: AudioFormat = AudioFormat.PCM16, limit_s: float = 10.0) -> KeptAudio:
    audio = KeptAudio(limit_s)
    audio.configure(audio_format)
    return audio


def test_without_a_word_it_is_pcm16() -> None:
    audio = KeptAudio(1.0)
    audio.extend([bytes(480), bytes(48)])
    assert audio.end_ms == 11
    assert audio.take_until(1.03) == bytes(48)  # no half sample
    audio.configure(AudioFormat.PCM16)
    assert b"".join(audio.take_all()) == bytes(480)


@pytest.mark.parametrize(("old", "new"), list(itertools.permutations(FORMATS, 2)))
def test_what_was_kept_in_another_format_is_dropped(old: AudioFormat, new: AudioFormat) -> None:
    audio = kept(old)
    audio.extend([bytes(800)])
    audio.configure(new)
    assert audio.take_all() == []
    audio.extend([b"\x01" * 800])
    audio.configure(new)
    assert audio.take_all() == [b"\x01" * 800]


def test_beyond_its_length_the_oldest_goes() -> None:
    audio = kept(AudioFormat.PCMU, limit_s=1.0)
    audio.extend([bytes(4_000), b"\x01" * 4_000])
    assert audio.take_lost_ms() == 0
    audio.extend([b"\x02"])
    assert audio.take_lost_ms() == 500
    assert audio.take_lost_ms() == 0
    assert audio.take_all() == [b"\x01" * 4_000, b"\x02"]


def test_what_was_taken_or_forgotten_leaves_room() -> None:
    audio = kept(AudioFormat.PCMU, limit_s=1.0)
    audio.extend([bytes(8_000)])
    assert len(audio.take_until(1_000)) == 8_000
    audio.extend([bytes(8_000)])
    assert audio.take_lost_ms() == 0
    audio.clear()
    assert audio.end_ms == 2_000  # positions go on
    audio.extend([bytes(8_000)])
    assert audio.take_lost_ms() == 0
    assert audio.end_ms == 3_000


def test_a_new_connection_counts_from_its_own_beginning() -> None:
    audio = kept(AudioFormat.PCMU)
    audio.extend([bytes(800), bytes(80)])
    assert audio.take_all() == [bytes(800), bytes(80)]
    assert audio.end_ms == 0
    assert audio.take_all() == []


@given(
    st.sampled_from(FORMATS),
    st.lists(st.integers(1, 4_000), max_size=8),
    st.lists(st.floats(-10, 2_000), max_size=5),
)
def test_taking_by_positions_is_cutting_what_was_appended(
    audio_format: AudioFormat, sizes: list[int], positions: list[float]
) -> None:
    size = audio_format.bytes_per_sample
    per_ms = audio_format.rate * size // 1000
    whole = bytes(index % 251 for index in range(sum(sizes) * size))
    pieces, at = list[bytes](), 0
    for count in sizes:
        pieces.append(whole[at : at + count * size])
        at += count * size
    audio = kept(audio_format)
    audio.extend(pieces)
    taken = 0
    for position in positions:
        # Positions are floats that come from a sum: half a byte is nothing.
        piece = audio.take_until(position)
        assert piece == whole[taken : taken + len(piece)]
        taken += len(piece)
        assert taken % size == 0
        if len(piece):
            assert abs(taken - min(position * per_ms, len(whole))) <= size
    assert b"".join(audio.take_all()) == whole[taken:]


def test_a_whole_frame_leaves_nothing_and_a_sample_is_taken_alone() -> None:
    audio = kept(AudioFormat.PCMU)
    audio.extend([b"abcdefgh"])
    assert audio.take_until(0.125) == b"a"
    assert audio.take_until(1) == b"bcdefgh"
    assert audio.take_all() == []


def test_it_says_from_where_on_it_has_everything() -> None:  # N3
    kept = KeptAudio(1.0)
    kept.extend([bytes(4_800)] * 12)
    assert [kept.has_all_since(position_ms) for position_ms in (0, 199, 200, 1_300)] == [
        False,
        False,
        True,
        True,
    ]
    assert kept.take_until(500)  # this was taken, and not dropped
    assert kept.has_all_since(200)
    kept.configure(AudioFormat.PCMU)
    assert [kept.has_all_since(position_ms) for position_ms in (1_199, 1_200)] == [False, True]
    kept.take_all()
    assert kept.has_all_since(0)
