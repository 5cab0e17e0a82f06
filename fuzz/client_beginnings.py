"""Where the lives of a client begin: in the middle of a session, as copies of one that a script led so far.

What takes many steps to reach is then one step away from the first byte of an input.
"""

from __future__ import annotations

import functools

from fuzz.client_life import ClientLife, Script
from fuzz.drawing import Draw
from fuzz.snapshots import Snapshot

_ASKED: Script = (("caller_asks", 0), ("server_answers_all",))
_SPEAKING: Script = (
    *_ASKED,
    *(("server_goes_on", 0, 0, 0, 0), ("server_goes_on", 0, 5)),
    *[("server_goes_on", 0, 6, 1, 255)] * 2,
)
_WRITTEN: Script = (
    *(("caller_says", 8), ("caller_says", 24, 1), ("caller_says", 2, 3), ("server_answers_all",)),
)
_LOST: Script = (*_WRITTEN, ("caller_speaks", 2), ("caller_asks", 0), ("server_closes", 0))
_NEXT: Script = (("caller_restarts", 2), ("next_begins", 0), ("next_answers", 0))
SCRIPTS: tuple[Script, ...] = (
    (),
    (*_ASKED, ("caller_asks", 0), ("caller_says", 0)),
    _SPEAKING,
    (*_SPEAKING, ("server_goes_on", 0, 9, 1), ("server_goes_on", 0, 1, 0)),
    (*_ASKED, ("server_goes_on", 0, 0, 3, 0), ("server_goes_on", 0, 4)),
    (*_SPEAKING, ("caller_interrupts", 2), ("caller_asks", 0)),
    _WRITTEN,
    (("caller_speaks", 2), ("server_hears", 0, 0, 9), ("server_commits",), ("server_hears", 0, 2)),
    (("caller_updates", 0), ("caller_says", 0), ("caller_asks", 0), ("caller_speaks", 2)),
    _LOST,
    (*_LOST, ("connects_again", 0)),
    (*_WRITTEN, *_SPEAKING, ("caller_speaks", 2), ("caller_commits", 1)),
    (*_WRITTEN, ("caller_asks", 0), *_NEXT),
    (*_SPEAKING, *_NEXT),
)
"""How far a life has come when it begins, by the upper half of its first byte: nothing yet, replies wanted,
an answer under way and over, a call, an interruption, a conversation, a turn of the caller's, much that is
not answered, a connection that was lost, one that is told what was said, all sorts at once, and a next
connection that waits for a quiet moment."""
UNCONNECTED = 16 * len(SCRIPTS)
"""From here on a first byte begins with the handshake."""


def begin(data: bytes) -> ClientLife:
    """A life.

    Args:
        data: Byte 0 says how it begins: the lower half chooses the settings. The rest is its steps.
    """
    draw = Draw(data)
    session = draw.byte()
    life = snapshot(min(session, UNCONNECTED + (session & 15))).restore()
    life.draw = draw
    return life


@functools.cache
def snapshot(session: int) -> Snapshot[ClientLife]:
    """What a life begins with, by its first byte."""
    return Snapshot(lambda: _begun(session))


def _begun(session: int) -> ClientLife:
    life = ClientLife(session & 15)
    if session >= UNCONNECTED:
        life.connect()
    else:
        life.get_ready()
        life.follow(SCRIPTS[session >> 4])
    return life
