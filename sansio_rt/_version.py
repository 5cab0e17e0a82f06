"""The version, for the User-Agent header; a test keeps it the same as in `pyproject.toml`.

Reading it from the installed metadata would import `email`, and with that `socket`.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
