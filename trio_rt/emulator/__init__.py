"""A local server of the Realtime API, for running without a key and for tests of any client.

`serve_emulator` runs it. A `Brain` is what it hears, thinks and speaks with: `Brain.local()` has
real parts, `Brain.scripted(...)` says what it is told to. A `FaultPlan` makes it do things wrong.
"""

from trio_rt.emulator._brain import Brain as Brain
from trio_rt.emulator._detection import EnergyDetector as EnergyDetector
from trio_rt.emulator._detection import SileroDetector as SileroDetector
from trio_rt.emulator._faults import Fault as Fault
from trio_rt.emulator._faults import FaultPlan as FaultPlan
from trio_rt.emulator._faults import MessageFault as MessageFault
from trio_rt.emulator._minds import LocalMind as LocalMind
from trio_rt.emulator._minds import ScriptedMind as ScriptedMind
from trio_rt.emulator._roles import Action as Action
from trio_rt.emulator._roles import Call as Call
from trio_rt.emulator._roles import Detector as Detector
from trio_rt.emulator._roles import Ears as Ears
from trio_rt.emulator._roles import EarStream as EarStream
from trio_rt.emulator._roles import Mind as Mind
from trio_rt.emulator._roles import Request as Request
from trio_rt.emulator._roles import Say as Say
from trio_rt.emulator._roles import ToolInfo as ToolInfo
from trio_rt.emulator._roles import Turn as Turn
from trio_rt.emulator._roles import Voice as Voice
from trio_rt.emulator._serve import Emulator as Emulator
from trio_rt.emulator._serve import EmulatorError as EmulatorError
from trio_rt.emulator._serve import serve_emulator as serve_emulator
