"""Looks at a herd before it is taken down: whose it is, where it runs, and how many requests are under way.

Decides which herd is not taken down without its name: one that another user has brought up.
"""

import contextlib
import os
import signal
import socket
import time

from cluster.planner.engine_groups import pools
from deployments.lifecycle.changing import declared, rolls
from deployments.lifecycle.changing.coming_up import replicas
from deployments.lifecycle.known import Herd, OperationError, connected
from deployments.lifecycle.memory import CONFIG, InFolder
from deployments.progress import Say
from deployments.records.event_log import operator

#: A change that is under way has so long to stop, and is ended then.
STOPS_S = 10.0


def sentence(herd: Herd, named: bool) -> str:
    """Returns a sentence about the herd that would be taken down.

    Args:
        herd: the herd.
        named: the operator has said its name.

    Raises:
        OperationError: it is another herd than the operator means, or somebody else's and was not named.
    """
    models, where = ", ".join(one.id for one in herd.config.models), f"{herd.endpoint} on {socket.gethostname()}"
    if herd.config.ray.address == "local" and herd.node.address is None:
        return f"The herd '{herd.config.name}' ({models}) on {socket.gethostname()}: its Ray node does not run."
    try:
        with connected(herd, lambda _: None):
            config, known = replicas(herd)
            now = declared.now(herd.memory)
    except OperationError:
        if herd.config.ray.address != "local":
            raise
        return f"The herd '{herd.config.name}' ({models}) at {where}: its Ray does not answer."
    by = now.by if now is not None else ""
    if config.name != herd.config.name:
        raise OperationError(
            f"The cluster runs the herd '{config.name}' now{f', brought up by {by}' if by else ''}; '{herd.config.name}' is gone. "
            f"`herd down --name {config.name}` takes that one down."
        )
    if not named and InFolder(herd.folder).kept(CONFIG) is None and by.partition("@")[0] != operator().partition("@")[0]:
        raise OperationError(
            f"The herd '{config.name}' was brought up by {by or 'somebody else'}: `herd down --name {config.name}` takes it down."
        )
    under_way = sum(one["ongoing"] for model in pools(config.models) for one in known.get(model.id, []))
    requests = "1 request is" if under_way == 1 else f"{under_way} requests are"
    return f"The herd '{config.name}' ({', '.join(one.id for one in config.models)}) at {where}: {requests} under way."


def end_change(herd: Herd, say: Say) -> None:
    """Ends a change of the herd that is under way on this machine."""
    roll = rolls.running(herd.folder)
    if roll is None:
        return
    say(f"Ending the change that is under way ({roll.order.words} by {roll.order.by})")
    deadline = time.monotonic() + STOPS_S
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(roll.pid, number)
        while roll.lives and time.monotonic() < deadline:
            time.sleep(rolls.LOOKS_S)
