"""The public names of `trio_rt`, which loads them when the first of them is asked for."""

from __future__ import annotations

from ._approval import ApprovalRequest as ApprovalRequest
from ._approval import ApprovalState as ApprovalState
from ._connect import azure_endpoint as azure_endpoint
from ._connect import endpoint as endpoint
from ._connect import open_session as open_session
from ._dial import Dialer as Dialer
from ._dial import TcpDialer as TcpDialer
from ._errors import ConnectTimeout as ConnectTimeout
from ._errors import KeyUnavailable as KeyUnavailable
from ._errors import TransportError as TransportError
from ._generation import FunctionCall as FunctionCall
from ._generation import Generation as Generation
from ._generation import Message as Message
from ._generation import Outcome as Outcome
from ._generation import Part as Part
from ._hooks import ErrorReport as ErrorReport
from ._hooks import LoggingHook as LoggingHook
from ._hooks import SessionHook as SessionHook
from ._playback import HeardMessage as HeardMessage
from ._playback import MessageFate as MessageFate
from ._playback import Playback as Playback
from ._playback import PlaybackEnd as PlaybackEnd
from ._playback import PlaybackOutcome as PlaybackOutcome
from ._session import Session as Session
from ._session import SessionMetrics as SessionMetrics
from ._session import Subscription as Subscription
from ._sinks import BufferedSink as BufferedSink
from ._sinks import ClockSink as ClockSink
from ._sinks import Sink as Sink
from ._sinks import SoundCardError as SoundCardError
from ._sinks import SoundCardSink as SoundCardSink
from ._sinks import WavSink as WavSink
from ._streams import Stream as Stream
from ._toolbox import ToolSettings as ToolSettings
from .emulator import serve_emulator as serve_emulator

__all__ = [
    "ApprovalRequest",
    "ApprovalState",
    "BufferedSink",
    "ClockSink",
    "ConnectTimeout",
    "Dialer",
    "ErrorReport",
    "FunctionCall",
    "Generation",
    "HeardMessage",
    "KeyUnavailable",
    "LoggingHook",
    "Message",
    "MessageFate",
    "Outcome",
    "Part",
    "Playback",
    "PlaybackEnd",
    "PlaybackOutcome",
    "Session",
    "SessionHook",
    "SessionMetrics",
    "Sink",
    "SoundCardError",
    "SoundCardSink",
    "Stream",
    "Subscription",
    "TcpDialer",
    "ToolSettings",
    "TransportError",
    "WavSink",
    "azure_endpoint",
    "endpoint",
    "open_session",
    "serve_emulator",
]
