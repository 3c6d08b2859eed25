"""Reads what a herd's engines tell of themselves beside their plans, from the gateways' page.

Decides nothing. Needs a connection to the herd's Ray, for the key to the page.
"""

from collections.abc import Sequence

from cluster.planner.engine_groups import pools
from cluster.planner.started.figures import Report, of_plain
from deployments.lifecycle.herd import Herd
from deployments.lifecycle.operator_pages import roster


def reports(herd: Herd) -> dict[str, Sequence[Report | None]]:
    """Returns a report for each replica that a gateway knows, by model; None for one that tells none, as replicas of older releases do."""
    known = roster(herd.endpoint, herd.config, herd.node)
    return {pool.id: [of_plain(one.get("figures")) for one in known.get(pool.id, [])] for pool in pools(herd.config.models)}
