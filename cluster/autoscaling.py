"""How many replicas a model should have, from what its engines are doing.

Decides by requests in flight alone, for now; capacity, arrival rate and cold start come here, over the same seam. Bounds and delays are
Ray Serve's.
"""

import math
from collections.abc import Iterable


def desired_replicas(ongoing: Iterable[float], target_per_replica: float) -> int:
    """Replicas such that each carries the target, for requests in flight on each of today's; at least one."""
    return max(1, math.ceil(sum(ongoing) / target_per_replica))
