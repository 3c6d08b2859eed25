"""Ray Serve → the roster: tells when the running replicas of a deployment change, by the long poll that Ray's own handles use.

Decides nothing. Only that something has changed is taken from it: what a replica is, the replica says itself.
"""

import asyncio
from typing import Any

import ray
from ray.exceptions import RayError
from ray.serve._private.common import DeploymentID
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve._private.long_poll import LongPollNamespace

_NEVER = -1
"""Before the number of any snapshot."""


class Changes:
    """What Ray Serve's controller has told of deployments."""

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
