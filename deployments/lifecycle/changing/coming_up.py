"""Waits until a herd is up: until a real generation has come back from every model. Needs a connection to the herd's Ray.

Decides when a wait is over. What is declared is the caller's.
"""

import time
from collections.abc import Iterable

from cluster.planner.engine_groups import only_prefills, pools
from configs.schema import Config, Model
from deployments.lifecycle.known import Herd, OperationError, remembered
from deployments.lifecycle.operator_pages import Replicas, roster
from deployments.lifecycle.own_certificate import trust
from deployments.lifecycle.standings import survey
from deployments.policy.fleet.model_state import ModelState, Standing
from deployments.policy.records.starts import FAILED
from deployments.policy.records.ways_out import way_out
from deployments.progress import Say
from deployments.ray_calls import serve_api
from deployments.ray_calls.names import GATEWAY, app_name
from deployments.records.start_log import starts_of

#: States of a model that may have no replica, in which nothing is left to wait for, and the reason.
_NOT_WAITED_FOR = {
    ModelState.AT_ZERO: "it starts with its first request",
    ModelState.STARTING: "its requests wait until it answers",
}


def wait(herd: Herd, say: Say, deadline: float) -> None:
    """Waits until every model has generated a token for a client, and engines that only compute prompts are there. A model that may have no
    replica is not waited for while it has none."""
    waiting = {pool.id: pool for pool in pools(herd.config.models)}
    while waiting:
        there, found = running([GATEWAY, *map(app_name, waiting)]), survey(*replicas(herd))
        settled = [name for name in waiting if {app_name(name), GATEWAY} <= there]
        for name in [name for name in waiting if waiting[name].on_demand and GATEWAY in there and _may_wait(found[name], name in settled)]:
            waiting.pop(name)
            say(f"{name} is {found[name].state.value}: {_NOT_WAITED_FOR[found[name].state]}")
        whole = [name for name in settled if name in waiting and found[name].running >= waiting[name].scale.min_replicas]
        refused = {name: _refusal(herd, waiting[name]) for name in whole if found[name].state is ModelState.RUNNING}
        for name in [name for name, why in refused.items() if not why]:
            waiting.pop(name)
            say(f"{name} answers")
        if waiting:
            reasons = "".join(f"\n{name} waits: {found[name].why}." for name in waiting if found[name].why)
            reasons += "".join(f"\n{name} does not generate: {refused[name]}" for name in waiting if name in refused)
            still(waiting, deadline, reasons)
            say(f"Waiting for {', '.join(waiting)} to generate{reasons}")
            time.sleep(1)


def _may_wait(found: Standing, is_settled: bool) -> bool:
    """Tells whether a model that may have no replica needs none now: it is at zero, or its first requests have it started already."""
    return found.state in _NOT_WAITED_FOR and (is_settled or found.target > 0)


def still(waiting: Iterable[str], deadline: float, reasons: str = "") -> None:
    if time.monotonic() > deadline:
        way_out = "`herd status` shows how far it is; `herd up` again goes on waiting."
        raise OperationError(f"{', '.join(waiting)} did not answer in time. {way_out}{reasons}")


def running(applications: Iterable[str]) -> set[str]:
    """Returns those of these applications that are where they were declared to be.

    Raises:
        OperationError: one of them cannot get there.
    """
    called = {name: "The gateway" if name == GATEWAY else f"The engine of '{name.partition('.')[2]}'" for name in applications}
    try:
        return serve_api.running(called)
    except serve_api.CannotStart as error:
        raise OperationError(_with_cause(error, called.get(error.application, ""))) from error


def _with_cause(error: serve_api.CannotStart, called: str) -> str:
    """Returns the cause of the last start that failed, and the way out; what Ray Serve says where no such start is kept.

    Ray Serve knows only what the replica itself raised, which for errors of vLLM's other processes is that there was one.
    """
    model = error.application.partition(".")[2]
    failed = [start for start in starts_of(model) if start.outcome == FAILED] if model else []
    if not failed:
        return str(error)
    last = failed[-1]
    logs = f"`herd logs {model} --replica {last.replica}` has all of it."
    return f"{called} could not start.\nOn {last.node}: {last.error}\n{' '.join(filter(None, (way_out(last.error, last.node), logs)))}"


def replicas(herd: Herd) -> tuple[Config, Replicas]:
    """Returns the config of what is up, and the replicas that its gateway knows. Needs `connected`."""
    config = remembered(herd)
    return config, roster(herd.endpoint, config, herd.node)


def _refusal(herd: Herd, model: Model) -> str:
    """Returns why a model does not generate for a client; empty where it does.

    Engines that only compute prompts have generated at their own gate.
    """
    import httpx

    if only_prefills(model):
        return ""
    body = {"model": model.id, "prompt": "Llamas are", "max_tokens": 4, "temperature": 0}
    try:
        answer = httpx.post(f"{herd.endpoint}/v1/completions", json=body, timeout=60, verify=trust(herd.config.gateway.tls))
    except httpx.HTTPError as error:
        return f"no gateway answers at {herd.endpoint} ({type(error).__name__})."
    try:
        page = dict(answer.json())
        refusal = dict(page.get("error") or {})
    except (ValueError, TypeError):
        return f"{herd.endpoint} answers {answer.status_code}, and not as a gateway does."
    if answer.status_code == 200 and page.get("choices"):
        return ""
    said = str(refusal.get("message", "nothing")).rstrip(".")
    return f"the gateway answers {answer.status_code}: {said}. {way_out(said, '')}".rstrip()
