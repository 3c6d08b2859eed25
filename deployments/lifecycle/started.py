"""Reads what a herd's engines tell of themselves beside their plans, out of a gateway's page. Decides nothing."""

from collections.abc import Sequence

from cluster.planner.engine_groups import pools
from cluster.planner.started.figures import Report, of_plain
from configs.schema import Config
from deployments.lifecycle.operator_pages import Replicas


def reports(config: Config, known: Replicas) -> dict[str, Sequence[Report | None]]:
    """Returns a report for each replica that a gateway knows, by model; None for one that tells none, as replicas of older releases do."""
    return {pool.id: [of_plain(one.get("figures")) for one in known.get(pool.id, [])] for pool in pools(config.models)}
