"""Realtime voice sessions for trio.

`open_session` connects and gives a `Session`; its generations are streams that trio tasks read.
`serve_emulator` is a local server of the same API, for running without a key. The protocol is
`sansio_rt`'s; everything that waits is here.
"""

from .emulator import serve_emulator as serve_emulator
