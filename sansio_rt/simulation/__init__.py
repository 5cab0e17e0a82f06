"""Client and server in one thread under a seed: everything that can happen to a session, many times over.

A run has a client (`ClientProtocol`), a server (`ServerProtocol`, with a small mind), a virtual clock, a
network that delays, splits, drops and cuts, a caller who speaks, types, barges in and edits, and tools
that are fast, slow or fail. What happens is a list of actions, made from a seed up front; the same seed
gives the same run. After every step the invariants are checked; a run that breaks one is shrunk to the
least list of actions that still breaks it.

    from sansio_rt.simulation import simulate

    result = simulate(4711)
    assert result.violation is None

`python -m sansio_rt.simulation --seeds 0:1000` runs many. `docs/simulation.md` says how to bring a caller
and invariants of one's own.
"""

from . import actions as actions
from ._caller import TypicalCaller as TypicalCaller
from ._carry import Carry as Carry
from ._chance import Chance as Chance
from ._chance import Chances as Chances
from ._dial_fault import DialFault as DialFault
from ._driver import Carried as Carried
from ._driver import Driver as Driver
from ._driver import Issued as Issued
from ._driver import Unreachable as Unreachable
from ._excuses import excuse_item as excuse_item
from ._excuses import excuse_spoken as excuse_spoken
from ._invariants import Invariant as Invariant
from ._invariants import Violation as Violation
from ._mind import Call as Call
from ._mind import Fail as Fail
from ._mind import Mind as Mind
from ._mind import Say as Say
from ._mind import ScriptedMind as ScriptedMind
from ._mind import Step as Step
from ._mind import ToolResult as ToolResult
from ._mind import Tools as Tools
from ._mind import VariedTools as VariedTools
from ._network import Line as Line
from ._network import Weather as Weather
from ._plan import Action as Action
from ._plan import Caller as Caller
from ._plan import Kind as Kind
from ._plan import Plan as Plan
from ._plan import Setup as Setup
from ._playback import Playback as Playback
from ._rules import DEFAULT_INVARIANTS as DEFAULT_INVARIANTS
from ._run import Result as Result
from ._run import Simulation as Simulation
from ._seeds import chances_of as chances_of
from ._seeds import simulate as simulate
from ._service import Service as Service
from ._service import Taken as Taken
from ._trace import written as written
from ._world import World as World
