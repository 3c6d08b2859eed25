"""How many replicas a model should have, from what its engines are doing.

Decides by requests in flight alone, for now; capacity, arrival rate and cold start come here, over the same seam. Bounds and delays are
Ray Serve's.
"""

import math
from collections.abc import Iterable


def desired_replicas(ongoing: Iterable[float], target_per_replica: float, ranks: int = 1) -> int:
    """Replicas such that each carries the target; at least one.

    Args:
        ongoing: requests in flight on each of today's processes that answer requests.
        target_per_replica: requests in flight that a replica should carry.
        ranks: such processes of one replica (data-parallel attention).

    Returns:
        How many processes that makes: always whole replicas.
    """
    return max(1, math.ceil(sum(ongoing) / target_per_replica)) * ranks
