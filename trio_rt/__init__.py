"""Realtime voice sessions for trio.

`open_session` connects and gives a `Session`; its generations are streams that trio tasks read.
`serve_emulator` is a local server of the same API, for running without a key. The protocol is
`sansio_rt`'s; everything that waits is here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._names import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        """Loads the public names when the first of them is asked for.

        That takes a quarter of a second, and the command line, which is a part of this package, has to
        be in charge of Ctrl-C before.
        """
        if name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _names

        found = {public: getattr(_names, public) for public in _names.__all__}
        globals().update(found)
        try:
            return globals()[name]  # a name, or a module that was loaded with them
        except KeyError:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None

    def __dir__() -> list[str]:
        """The public names, whether they are loaded or not."""
        from . import _names

        return sorted({*globals(), *_names.__all__})
