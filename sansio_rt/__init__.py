"""A realtime voice session without any input or output of its own.

The protocol of the OpenAI Realtime API as pure state: bytes and commands in, bytes and typed events out,
time as an argument. No socket, no clock, no task; any event loop can drive it, and so can a `for` loop.

- `ClientProtocol` is the client's side of a session, `ServerProtocol` the server's.
- `Endpoint`, `SessionConfig`, `tool` say where, how and with which functions.
- `events` is the wire's own vocabulary, usable alone: every event as a typed struct, and the codec.
- The session events (`SpeechStarted`, `AudioDelta`, ...) are what `ClientProtocol.next_event` gives.
- Every error derives from `RealtimeError`.
"""

from . import events as events
from ._audio import AudioData as AudioData
from ._audio import AudioEncoder as AudioEncoder
from ._audio import AudioFormat as AudioFormat
from ._audio import AudioFrame as AudioFrame
from ._client import ClientProtocol as ClientProtocol
from ._commands import Command as Command
from ._commands import CommandKind as CommandKind
from ._commands import Outcome as Outcome
from ._config import Limits as Limits
from ._config import SessionConfig as SessionConfig
from ._config import Timing as Timing
from ._connection import ConnectionState as ConnectionState
from ._conversation import Conversation as Conversation
from ._conversation import ConversationItem as ConversationItem
from ._conversation import TranscriptState as TranscriptState
from ._diff import CreateItem as CreateItem
from ._diff import DeleteItem as DeleteItem
from ._diff import Edit as Edit
from ._diff import diff as diff
from ._endpoint import Dialect as Dialect
from ._endpoint import Endpoint as Endpoint
from ._errors import CommandRefused as CommandRefused
from ._errors import CommandTimeout as CommandTimeout
from ._errors import ConfigurationError as ConfigurationError
from ._errors import ConnectionClosed as ConnectionClosed
from ._errors import EditsFailed as EditsFailed
from ._errors import FrameError as FrameError
from ._errors import GenerationFailed as GenerationFailed
from ._errors import HandshakeRejected as HandshakeRejected
from ._errors import LocalProtocolError as LocalProtocolError
from ._errors import MessageTooBig as MessageTooBig
from ._errors import MissingExtra as MissingExtra
from ._errors import RealtimeError as RealtimeError
from ._errors import RemoteProtocolError as RemoteProtocolError
from ._errors import SchemaError as SchemaError
from ._errors import StreamOverflow as StreamOverflow
from ._errors import ToolArgumentsError as ToolArgumentsError
from ._errors import ToolDefinitionError as ToolDefinitionError
from ._errors import UnsupportedByDialect as UnsupportedByDialect
from ._generations import GeneratedCall as GeneratedCall
from ._generations import GeneratedMessage as GeneratedMessage
from ._generations import Generation as Generation
from ._generations import GenerationMetrics as GenerationMetrics
from ._generations import GenerationOrigin as GenerationOrigin
from ._generations import GenerationStatus as GenerationStatus
from ._images import MAX_IMAGE_BYTES as MAX_IMAGE_BYTES
from ._images import image_part as image_part
from ._link import Link as Link
from ._metrics import ConnectionMetrics as ConnectionMetrics
from ._metrics import TranscriptionMetrics as TranscriptionMetrics
from ._metrics import TurnMetrics as TurnMetrics
from ._retry import RetryPolicy as RetryPolicy
from ._retry import worth_a_retry as worth_a_retry
from ._server import ServerProtocol as ServerProtocol
from ._session_events import AudioDelta as AudioDelta
from ._session_events import CallReady as CallReady
from ._session_events import CommandEnded as CommandEnded
from ._session_events import ConnectionLost as ConnectionLost
from ._session_events import ConnectionReplaced as ConnectionReplaced
from ._session_events import ErrorScope as ErrorScope
from ._session_events import GenerationEnded as GenerationEnded
from ._session_events import GenerationStarted as GenerationStarted
from ._session_events import InputAudioCleared as InputAudioCleared
from ._session_events import InputAudioCommitted as InputAudioCommitted
from ._session_events import InputTimedOut as InputTimedOut
from ._session_events import InputTranscriptCompleted as InputTranscriptCompleted
from ._session_events import InputTranscriptDelta as InputTranscriptDelta
from ._session_events import InputTranscriptFailed as InputTranscriptFailed
from ._session_events import ItemAdded as ItemAdded
from ._session_events import ItemDeleted as ItemDeleted
from ._session_events import ItemDone as ItemDone
from ._session_events import ItemTruncated as ItemTruncated
from ._session_events import MessageBroken as MessageBroken
from ._session_events import MessageEnded as MessageEnded
from ._session_events import MessageStarted as MessageStarted
from ._session_events import RateLimitsReported as RateLimitsReported
from ._session_events import RawClientEvent as RawClientEvent
from ._session_events import RawServerEvent as RawServerEvent
from ._session_events import ResponseDiscarded as ResponseDiscarded
from ._session_events import RotationDue as RotationDue
from ._session_events import ServerErrorReported as ServerErrorReported
from ._session_events import SessionClosed as SessionClosed
from ._session_events import SessionConfigured as SessionConfigured
from ._session_events import SessionEvent as SessionEvent
from ._session_events import SessionReady as SessionReady
from ._session_events import SessionResumed as SessionResumed
from ._session_events import SpeechStarted as SpeechStarted
from ._session_events import SpeechStopped as SpeechStopped
from ._session_events import StrayEvent as StrayEvent
from ._session_events import TextDelta as TextDelta
from ._session_events import UnknownEventReceived as UnknownEventReceived
from ._shorten import shorten as shorten
from ._shorten import shorten_text as shorten_text
from ._sources import CountingBytes as CountingBytes
from ._sources import SequentialIds as SequentialIds
from ._tools import Tool as Tool
from ._tools import tool as tool
from ._turn_clock import TurnClock as TurnClock
from ._version import __version__ as __version__
from .events import NoiseReduction as NoiseReduction
from .events import SemanticVad as SemanticVad
from .events import ServerVad as ServerVad
from .events import Transcription as Transcription
