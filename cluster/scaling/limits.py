"""Bounds of the decision: the operator's numbers, and the constants of the rule.

Precedence, strongest first. Each one wins against those below it, and `Decision.binds` names the one that did:

1. `cluster`: GPUs that exist, and `other models`: GPUs that others of the herd hold or come first to (`cluster.scaling.several`).
2. `gpus`: GPUs that the model may hold, those of draining replicas included.
3. `money`: the price of an hour.
4. `max_replicas`.
5. `schedule`: a floor of the hour, and 6. `min_replicas`: whichever asks for more.
7. The demand.
"""

from dataclasses import dataclass
from typing import Literal

from cluster.scaling.pace import Replica
from cluster.scaling.schedules import Schedule
from cluster.scaling.work import Pace, Slo

Bound = Literal["cluster", "other models", "gpus", "money", "max_replicas", "schedule", "min_replicas"]
Forecast = Literal["trend", "drift", "last", "none"]


@dataclass(frozen=True, slots=True)
class Tuning:
    """Constants of the rule. They are structural: seconds and shares that hold for any model and trace."""

    forecast: Forecast = "trend"
    """`trend`: level and damped trend, trusted as far as it has been right; `drift`: the line through the last horizon; `last`: the
    level; these three have a quantile of their own past errors. `none`: the level, and no quantile."""
    quantile: float = 0.9
    """Of past errors of the forecast that the margin covers."""
    jump: float = 0.8
    """Replicas by which a load of one replica is thought to have jumped once before anything was seen; grows with its square root."""
    spare: float = 0.3
    """Replicas of spare at a load of one replica, for arrivals that crowd together; grows with the square root of the load."""
    step_down_s: float = 15.0
    """Between two steps down."""
    patience_s: float = 45.0
    """For so long N - 1 replicas must have been enough, and by more than noise."""
    long_patience_s: float = 1800.0
    """For so long N - 1 replicas must have been enough where that may be noise. Both double each time a step down was regretted."""
    warm_s: float = 180.0
    """A replica's first time: its prefix cache is empty, and its speed teaches nothing."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one model's replicas, and what is known of them beforehand."""

    pace: Pace
    """One replica's, at the objectives (`cluster.scaling.pace`). Where `replica` is known, it is that for usual requests."""
    least: int
    most: int
    slo: Slo | None = None
    unmeetable: str = ""
    """Why no number of replicas meets the objectives; empty where one does."""
    gpus_per_replica: float = 1.0
    gpus_most: float | None = None
    gpu_hour_price: float | None = None
    hour_price_most: float | None = None
    schedules: tuple[Schedule, ...] = ()
    expected_start_s: float = 120.0
    """Seconds of a start before any was measured."""
    drain_s: float = 60.0
    """Seconds that a replica takes to finish what it has."""
    clear_s: float = 60.0
    """Seconds in which what waits is to be served."""
    headroom: float = 0.0
    """The margin is at least this share of the expected load."""
    idle_s: float = 600.0
    """Seconds without a request after which a model with `least` 0 goes to none."""
    stale_s: float = 30.0
    """A report older than this is not believed."""
    release: str = ""
    """Of the code that decides; reports of another one are not believed."""
    tuning: Tuning = Tuning()
    replica: Replica | None = None
    """Of which the pace for the requests that come is made, at `slo`; None: the pace is the same for all requests."""
