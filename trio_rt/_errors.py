"""Errors of the network, mapped once at the edge; all else is in `sansio_rt`."""

from __future__ import annotations

from sansio_rt import RealtimeError

__all__ = ["ConnectTimeout", "KeyUnavailable", "TransportError"]


class TransportError(RealtimeError):
    """The network failed: no such host, refused, reset, a certificate that does not fit.

    The system's own error is the cause.
    """

    passing = True


class ConnectTimeout(TransportError):
    """The connection was not up in time (`Timing.connect_timeout_s`)."""


class KeyUnavailable(RealtimeError):
    """The endpoint's key function failed while a lost connection was being replaced; it is asked again.

    What the function raised is the cause. Let it raise `ConfigurationError` to end the session at once.
    """

    passing = True
