"""Ray Serve ↔ the roster: asks every replica of a deployment what it is, by `DeploymentHandle.broadcast`, and tells when there are others.

Decides nothing. That replicas change is told by the long poll that Ray's own handles use. Only that something has changed is taken from it:
what a replica is, the replica says itself.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve._private.common import DeploymentID
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.long_poll import LongPollNamespace
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeStatus

from deployments.policy.routing.replica_report import view_of
from deployments.policy.routing.types import ReplicaView
from deployments.ray_calls.names import ENGINE, app_name

_NEVER = -1
"""Before the number of any snapshot."""


class Replicas:
    """Handles to the deployments of a herd, made when first needed."""

    def __init__(self, answer_s: float = 2.0) -> None:
        """Args:
        answer_s: longest wait for all replicas of a deployment to answer.
        """
        self._answer_s = answer_s
        self._status: asyncio.Task[ServeStatus] | None = None
        self._handles: dict[tuple[str, str], DeploymentHandle[Any]] = {}

    async def views(self, model: str) -> Sequence[ReplicaView]:
        """Asks every replica of a model for its state.

        Raises:
            OSError: nobody could be asked, or not all answered in time.
        """
        return tuple(map(view_of, await self.ask(app_name(model), ENGINE, "describe")))

    async def ask(self, app: str, deployment: str, method: str, within_s: float | None = None, arguments: Sequence[str] = ()) -> list[Any]:
        """The answers of all live replicas; those that broke off are left out, and no replica at all is an empty list.

        Raises:
            OSError: nobody could be asked, or not all answered in time.
        """
        try:
            handle = await self._handle(app, deployment)
            answers = await handle.broadcast(method, *arguments).results_async(timeout_s=within_s or self._answer_s, return_exceptions=True)
        except DeploymentUnavailableError:
            return []
        except (RayError, RayServeException) as error:
            raise OSError(str(error)) from error
        return [answer for answer in answers if not isinstance(answer, BaseException)]

    async def complete(self, app: str, deployment: str) -> bool:
        """Whether all replicas that there should be run, and none is being started or stopped.

        Raises:
            OSError: nobody could be asked, or there was no answer in time.
        """
        return not any(count for state, count in (await self._states(app, deployment)).items() if state != "RUNNING")

    async def coming(self, app: str, deployment: str) -> int:
        """How many replicas run, or are being started.

        Raises:
            OSError: as `complete`.
        """
        return sum(count for state, count in (await self._states(app, deployment)).items() if state != "STOPPING")

    async def _states(self, app: str, deployment: str) -> dict[str, int]:
        if self._status is None or self._status.done():  # while Ray's head is away it waits in a thread: one is enough
            self._status = asyncio.get_running_loop().create_task(asyncio.to_thread(serve.status))
        try:
            async with asyncio.timeout(self._answer_s):
                found = (await asyncio.shield(self._status)).applications[app].deployments[deployment]
        except (RayError, RayServeException, KeyError) as error:
            raise OSError(str(error)) from error
        return {str(state): count for state, count in found.replica_states.items()}

    async def _handle(self, app: str, deployment: str) -> "DeploymentHandle[Any]":
        handle = self._handles.get((app, deployment))
        if handle is None:  # it asks the controller, and waits for it
            handle = await asyncio.to_thread(serve.get_deployment_handle, deployment, app)
            self._handles[app, deployment] = handle
        return handle


class Changes:
    """The news of deployments from Ray Serve's controller."""

    def __init__(self) -> None:
        self._controller: Any = None
        self._seen: dict[DeploymentID, int] = {}

    async def next(self, app: str, deployment: str) -> None:
        """Returns when the running replicas of a deployment are others than when this returned before; at once the first time.

        Raises:
            OSError: the controller could not be asked, as while Ray's head is away.
        """
        which = DeploymentID(name=deployment, app_name=app)
        key = (LongPollNamespace.DEPLOYMENT_TARGETS, which)
        try:
            if self._controller is None:  # it asks the head, and waits for it
                self._controller = await asyncio.to_thread(ray.get_actor, SERVE_CONTROLLER_NAME, SERVE_NAMESPACE)
            told: Any = {}
            while not isinstance(told, dict) or key not in told:  # the controller answers at least once a minute
                told = await self._controller.listen_for_change.remote({key: self._seen.get(which, _NEVER)})
        except (RayError, ValueError) as error:
            self._controller = None
            raise OSError(str(error)) from error
        self._seen[which] = told[key].snapshot_id
