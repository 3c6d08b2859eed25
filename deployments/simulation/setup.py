"""Everything about a simulated cluster but its requests and its rule."""

from dataclasses import dataclass, field
from math import inf

from configs.routing import Routing
from configs.schema import Limits
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import StepTimes
from deployments.simulation.fleet import Pool


@dataclass(frozen=True, slots=True)
class Setup:
    """One cluster."""

    size: Size
    step_times: StepTimes
    pool: Pool = field(default_factory=Pool)
    least: int = 1
    most: int = 1_000_000
    replicas: int = 1
    """Ready at the begin."""
    routing: Routing = field(default_factory=Routing)
    limits: Limits = field(default_factory=Limits)
    tells_slots: bool = True
    """Replicas say how many requests they run at once, so that the gateway lets others wait outside."""
    ttft_s: float = inf
    """Answers should begin within so many seconds, and the gateway's line goes by that; infinite: first come, first served."""
    reports_s: float = 0.2
    """Between two reports of a replica at which a request has come, begun or ended; another busy one tells its longer contexts every tenth
    time."""
    deaths: tuple[float, ...] = ()
    """Times at which the longest ready replica dies."""
    outages: tuple[tuple[float, float], ...] = ()
    """From when to when the rule gets no metrics."""
    until_s: float = inf
    """GPUs are counted, and the rule is asked, until then; infinite: until the last request has ended."""
