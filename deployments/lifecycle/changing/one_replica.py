"""Has one replica of a model leave, and waits until another one serves in its place. Needs a connection to the herd's Ray.

Decides how it leaves: it says to Ray Serve that it is not well, takes no new request and finishes those that it has. Ray Serve starts
another one.
"""

import asyncio
import time

from deployments.lifecycle.changing.coming_up import replicas
from deployments.lifecycle.known import Herd, OperationError
from deployments.policy.fleet.events import Kind
from deployments.progress import Say
from deployments.ray_calls.names import ENGINE, app_name
from deployments.records import event_log

ANSWER_S = 10.0


def replace(herd: Herd, model: str, replica: str, say: Say, within_s: float) -> None:
    """Has a replica replaced.

    Args:
        herd: the herd.
        model: an id or an alias.
        replica: the replica's id, or its beginning.
        say: tells each step.
        within_s: the longest wait for the other one.

    Raises:
        OperationError: there is no such replica, or no other one has come in time.
    """
    config, known = replicas(herd)
    named = {name: one.id for one in config.models for name in (one.id, *one.aliases)}
    if model not in named:
        raise OperationError(f"The herd has no model '{model}'. It has {', '.join(dict.fromkeys(named.values()))}.")
    there = [one["id"] for one in known.get(named[model], [])]
    matching = [one for one in there if one.startswith(replica)]
    if len(matching) != 1:
        why = "has no replica" if not matching else "has several replicas"
        raise OperationError(f"{named[model]} {why} whose id begins with '{replica}'. Its replicas: {', '.join(there) or 'none'}.")
    _leave(named[model], matching[0])
    event_log.tell(Kind.CHANGE, f"`herd restart {named[model]} --replica {matching[0]}`: it leaves, and another one starts", named[model])
    say(f"{matching[0]} takes no new request, and goes when it has answered those that it has")
    _wait(herd, named[model], matching[0], len(there), time.monotonic() + within_s)


def _leave(model: str, replica: str) -> None:
    from deployments.ray_calls.broadcast import Replicas  # it imports Ray, which reads the environment then: the herd's must be set

    try:
        left = asyncio.run(Replicas().ask(app_name(model), ENGINE, "leave", ANSWER_S, (replica,)))
    except OSError as error:
        raise OperationError(f"The replicas of {model} do not answer: {error}") from error
    if not any(left):
        raise OperationError(f"The replica {replica} does not answer. `herd status` shows how it is.")


def _wait(herd: Herd, model: str, gone: str, count: int, deadline: float) -> None:
    while time.monotonic() < deadline:
        ready = [one["id"] for one in replicas(herd)[1].get(model, []) if one["state"] == "ready"]
        if gone not in ready and len(ready) >= count:
            return
        time.sleep(1)
    raise OperationError(f"No other replica of {model} has come in time. `herd status` shows how far it is.")
