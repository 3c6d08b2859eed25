"""What load there will be when a replica that is asked for now is ready: a level, a trend, and how wrong such forecasts have been.

The level tells steps from noise: a short mean within two standard errors of a slow one moves it little, one beyond them moves it at once.
The trend is damped, and trusted as far as it has foretold changes on this very load: noise and steps earn it nothing, ramps do. The upper
value adds a quantile of the forecast's own past errors at this horizon, so a load that jumps now and then gets room for a jump, and a
smooth one none (split conformal prediction, Vovk et al. 2005).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, exp, sqrt

#: Seconds over which the short mean, the slow one, the noise, the trend and its trust are averaged, and over which a trend dies away.
FAST_S, SLOW_S, NOISE_S, TREND_S, TRUST_S, DAMPED_S = 30.0, 300.0, 300.0, 90.0, 1800.0, 300.0
#: Standard errors that count as noise.
BAND = 2.0
#: A trend is trusted by this share before any change was seen, as if it had been right over one noisy horizon.
TRUST_AT_FIRST = 0.5
#: Forecasts are kept to be judged this many times within one horizon, and so many errors: an hour's, at a start of 100 s and more.
JUDGED, ERRORS = 8, 192
#: After such a gap the level begins anew.
GAP_S = 600.0


@dataclass(frozen=True, slots=True)
class Pending:
    """A forecast that time will judge."""

    due_s: float
    level: float
    change: float
    """That the trend, fully trusted, foretold."""
    expected: float


@dataclass(frozen=True, slots=True)
class Track:
    """A load as it was followed so far. Loads are in replicas."""

    until_s: float = -1.0
    seen: int = 0
    fast: float = 0.0
    slow: float = 0.0
    noise: float = 0.0
    """Variance of one bucket."""
    level: float = 0.0
    trend: float = 0.0
    """Change of the level in a second."""
    cross: float = 0.0
    """Sum of foretold times real changes, and of squared foretold ones: their quotient is the trust."""
    square: float = 0.0
    error: float = 0.0
    """The quantile of the errors."""
    pending: tuple[Pending, ...] = ()
    errors: tuple[float, ...] = ()
