"""The herd that is declared, where all operators see it: the config of a file, and the changes by hand since.

Decides nothing: what an order makes of it is `policy.fleet.by_hand`'s. In a cluster it needs a connection to Ray.
"""

import contextlib
from datetime import UTC, datetime

from configs.schema import Config
from deployments.lifecycle import rollout
from deployments.lifecycle.memory import BEFORE, CONFIG, DECLARED, Memory
from deployments.policy.fleet.by_hand import DeclaredHerd, Order, What
from deployments.records.event_log import operator


def order(what: What, file: Config | None = None, model: str | None = None, replicas: int | None = None, most: int | None = None) -> Order:
    """Returns an order of this user, given now."""
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Order(what=what, by=operator(), at=at, file=file, model=model, replicas=replicas, most=most)


def now(memory: Memory) -> DeclaredHerd | None:
    """Returns the herd that is declared; None if none is. A release that knew no changes by hand kept its config alone."""
    text = memory.kept(DECLARED)
    if text is not None:
        with contextlib.suppress(ValueError):
            return DeclaredHerd.model_validate_json(text)
    config = memory.kept(CONFIG)
    if config is not None:
        with contextlib.suppress(ValueError):
            return DeclaredHerd(file=Config.model_validate_json(config))
    return None


def before(memory: Memory) -> DeclaredHerd | None:
    """Returns the herd that last was up with another file; None if none is known."""
    found = rollout.last_good(memory, BEFORE)
    return None if found is None else found.herd


def keep(memory: Memory, herd: DeclaredHerd) -> None:
    """Keeps what is declared from now on."""
    memory.keep(DECLARED, herd.model_dump_json())
    memory.keep(CONFIG, herd.config.model_dump_json())
