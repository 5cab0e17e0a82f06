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
from ._server import ServerProtocol as ServerProtocol
from ._sources import CountingBytes as CountingBytes
from ._sources import SequentialIds as SequentialIds
from ._tools import Tool as Tool
from ._tools import tool as tool
from ._version import __version__ as __version__
from .events import NoiseReduction as NoiseReduction
from .events import SemanticVad as SemanticVad
from .events import ServerVad as ServerVad
from .events import Transcription as Transcription
