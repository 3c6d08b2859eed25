"""How many replicas a model should have, from what its engines are doing and what waits for them.

Decides by requests alone, for now: those in flight and those that wait; arrival rate and cold start come here, over the same seam. Bounds
and delays are Ray Serve's.
"""

import math
from collections.abc import Collection
from statistics import median_low


def desired_replicas(
    ongoing: Collection[float],
    target_per_replica: float,
    ranks: int = 1,
    waiting: Collection[float] = (),
    room: Collection[float] = (),
) -> int:
    """Replicas such that each carries the target, or what it can run where that is less; at least one.

    Args:
        ongoing: requests in flight on each of today's processes that answer requests.
        target_per_replica: requests in flight that a replica should carry.
        ranks: such processes of one replica (data-parallel attention).
        waiting: requests that wait for the model outside the engines, as each process has heard. All hear of the same ones, so they count
            once: as the process says that has heard of most.
        room: requests that each process can run at once; 0 where it has not said. Gateways send a replica no more, so a target above it
            would never be reached.

    Returns:
        How many processes that makes: always whole replicas.
    """
    told = [requests for requests in room if requests > 0]
    # The lower median: a new replica has not met its limit yet, and one with a single giant request is no measure of the others.
    carried = min(target_per_replica, ranks * median_low(told)) if told else target_per_replica
    demand = sum(ongoing) + max(waiting, default=0.0)
    return max(1, math.ceil(demand / carried)) * ranks
