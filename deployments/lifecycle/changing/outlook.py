"""Looks ahead: what an order would do to the herd that runs. Changes nothing.

Decides what is asked of whom: the memory for the herd that runs, the planner for its verdict, Ray for room beside the old replicas, and a
gateway for how long engines took to start. What it comes to is `policy.fleet.herd_diff`'s.
"""

import dataclasses

from cluster.planner.engine_groups import model_of, pools
from cluster.planner.herd_fit import known_cluster
from cluster.provision.start_time import start_limit_s
from configs.load import ConfigError, Environment
from configs.schema import Config
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import declared
from deployments.lifecycle.changing.coming_up import replicas
from deployments.lifecycle.changing.preflight import checkpoint_paths, memory_problem, small_engines
from deployments.lifecycle.fit import CannotPlan, checked
from deployments.lifecycle.known import Herd, OperationError, connected
from deployments.lifecycle.rollout import CameUp
from deployments.lifecycle.seen import reports
from deployments.policy.fleet.by_hand import DeclaredHerd, Order, overruled
from deployments.policy.fleet.herd_diff import HerdDiff, Kind, Move, Outlook, Told, fields, moves, told
from deployments.policy.fleet.rollout_steps import Declared
from deployments.ray_calls.names import GATEWAY, app_name

#: A gateway's process listens within so many seconds.
GATEWAY_S = 5.0


def of_file(herd: Herd, order: Order, environment: Environment) -> HerdDiff:
    """Returns what `herd up` with a file would do, also where no herd is up yet.

    Raises:
        OperationError: the herd's Ray cannot be reached, or the order cannot be carried out.
    """
    if herd.config.ray.address == "local" and herd.node.address is None:
        if order.model is not None:
            raise OperationError("No herd is up. `herd up FILE` brings one up.")
        return _first(herd.config, environment)
    with connected(herd, lambda _: None):
        return of_order(herd, order, environment)


def _first(config: Config, environment: Environment) -> HerdDiff:
    from deployments.lifecycle.applications import declared as built

    applications = built(config, 1, checkpoint_paths(config, environment)).model_dump(mode="json", exclude_unset=True)
    return _new(config, applications)


def _new(config: Config, applications: Declared) -> HerdDiff:
    """Returns what bringing a herd up would do, where nothing of it runs."""
    (fewest, most), problems = _planned(config)
    found = _told(moves(None, applications, GATEWAY), config, config, {})
    return HerdDiff((), found, (), (0, fewest), problems, new=True, most_gpus=(0, most))


def of_order(herd: Herd, order: Order, environment: Environment) -> HerdDiff:
    """Returns what an order would do. Needs `connected`.

    Raises:
        OperationError: it cannot be carried out.
    """
    now = declared.now(herd.memory)
    wanted = operate.resolved_for(herd, order, lambda _: None)
    ahead = dataclasses.replace(herd, config=wanted.config)
    applications = operate.as_declared(wanted.config, checkpoint_paths(wanted.config, environment), wanted.restarts)
    before = operate.running_before(ahead)
    if before is None:
        return _new(wanted.config, applications)
    return _between(ahead, before, applications, wanted, overruled(order, now))


def _between(herd: Herd, before: CameUp, applications: Declared, wanted: DeclaredHerd, taken_back: tuple[str, ...]) -> HerdDiff:
    found = moves(before.declared, applications, GATEWAY)
    outlooks = {move.application: _outlook(herd, move, applications) for move in found}
    started = _started(herd) if any(move.kind in (Kind.RESTARTS, Kind.STARTS) for move in found) else {}
    outlooks = {name: _measured(one, started.get(name)) for name, one in outlooks.items()}
    (fewest, most), problems = _planned(wanted.config)
    more = small_engines(wanted.config) - small_engines(before.config)
    if herd.config.ray.address == "local" and more > 0 and (problem := memory_problem(more)):
        problems += (problem,)
    changed = fields(before.config, wanted.config)
    (fewest_before, most_before), _ = _planned(before.config)
    told_of = _told(found, before.config, wanted.config, outlooks)
    return HerdDiff(changed, told_of, taken_back, (fewest_before, fewest), problems, most_gpus=(most_before, most))


def _outlook(herd: Herd, move: Move, applications: Declared) -> Outlook:
    if move.application == GATEWAY:
        (deployment,) = next(one for one in applications["applications"] if one["name"] == GATEWAY)["deployments"]
        return Outlook(deployment["max_surge_percent"] > 0, GATEWAY_S, measured=False)
    pool = next((pool for pool in pools(herd.config.models) if app_name(pool.id) == move.application), None)
    if pool is None or move.kind is not Kind.RESTARTS or move.whole:
        return Outlook(surges=False, start_s=_at_most(herd.config, move.application), measured=False)
    return Outlook(operate.surges(herd, pool), _at_most(herd.config, move.application), measured=False)


def _at_most(config: Config, application: str) -> float:
    """Returns the longest time in seconds that a start of a model's engines may take, by its weights and their disk."""
    ids = {model_of(pool.id) for pool in pools(config.models) if app_name(pool.id) == application}
    return start_limit_s(config.model_copy(update={"models": tuple(model for model in config.models if model.id in ids)}))


def _started(herd: Herd) -> dict[str, float]:
    """Returns how long the engines that run took to start, in seconds, by application; a gateway knows."""
    config, known = replicas(herd)
    seconds = {
        model: [one.told.start_s for one in told_by if one is not None and one.told.start_s is not None]
        for model, told_by in reports(known, [pool.id for pool in pools(config.models)]).items()
    }
    return {app_name(model): max(some) for model, some in seconds.items() if some}


def _measured(outlook: Outlook, start_s: float | None) -> Outlook:
    return outlook if start_s is None else dataclasses.replace(outlook, start_s=start_s, measured=True)


def _told(found: tuple[Move, ...], old: Config, new: Config, outlooks: dict[str, Outlook]) -> tuple[Told, ...]:
    names = {app_name(pool.id): pool.id for config in (old, new) for pool in pools(config.models)} | {GATEWAY: "the gateway"}

    def outlook(move: Move) -> Outlook:
        start_s = GATEWAY_S if move.application == GATEWAY else _at_most(new, move.application)
        return outlooks.get(move.application) or Outlook(surges=False, start_s=start_s, measured=False)

    return tuple(told(move, names[move.application], outlook(move)) for move in found)


def _planned(config: Config) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Returns the GPUs that a herd takes, at least and at most, and the planner's reasons against it."""
    try:
        _, found = checked(config, known_cluster(config))
    except (CannotPlan, ConfigError) as error:
        return (0, 0), (str(error),)
    return (found.gpus, found.most_gpus), (*found.refusals, *found.shortages)
