"""Asks a cloud's metadata server whether this machine will be taken away, and has Ray drain it then.

Decides how often. What an answer means is `policy.fleet.reclaim_notices`'. Each node's gateway asks for its own machine.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import aiohttp
import structlog

from configs.inventory import Cloud
from deployments.gateway.replicas.loops import end
from deployments.policy.fleet.reclaim_notices import QUESTIONS, Notice, notice

Drain = Callable[[Notice], str | None]
"""Has this node drained before its machine goes; says why that could not be, if so."""

#: AWS asks for every five seconds at most.
PERIOD_S = 5.0
ANSWER_S = 2.0
AT: Mapping[Cloud, str] = {"aws": "http://169.254.169.254", "gcp": "http://metadata.google.internal"}
TOKEN, TOKEN_S = "/latest/api/token", "21600"


class Notices:
    """Asks the metadata server of a cloud until there is a notice, and tells it until Ray has taken it."""

    def __init__(self, drain: Drain, at: Mapping[Cloud, str] = AT, period_s: float = PERIOD_S) -> None:
        """Args:
        drain: has this node drained. Called in a thread.
        at: each cloud's metadata server.
        period_s: between two questions.
        """
        self._drain = drain
        self._at = at
        self._period_s = period_s
        self._log = structlog.get_logger("herd.notices")
        self._cloud: Cloud | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """The loop, and loops that were cancelled and have not ended yet."""

    def follow(self, cloud: Cloud | None) -> None:
        """Asks this cloud from now on, and no other. None: the machine is no cloud's, and nobody is asked."""
        if cloud == self._cloud:
            return
        self._cloud = cloud
        for task in self._tasks:
            task.cancel()
        if cloud is not None:
            task = asyncio.get_running_loop().create_task(self._loop(cloud))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Asks nobody any more, and returns when every loop has ended."""
        await end(self._tasks)

    async def _loop(self, cloud: Cloud) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S), cookie_jar=aiohttp.DummyCookieJar()) as http:
            while not await self._once(cloud, http):  # noqa: ASYNC110 (nobody here sets an event)
                await asyncio.sleep(self._period_s)

    async def _once(self, cloud: Cloud, http: aiohttp.ClientSession) -> bool:
        """Whether there was a notice, and Ray has taken it."""
        try:
            found = await self._found(cloud, http)
            if found is None:
                return False
            self._log.warning("node_leaves", why=found.why, within_s=found.within_s)
            refusal = await asyncio.to_thread(self._drain, found)
        except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must ask again)
            self._log.debug("notices_unknown", error=type(error).__name__)
            return False
        if refusal is not None:
            self._log.warning("node_not_drained", why=refusal)
        return refusal is None

    async def _found(self, cloud: Cloud, http: aiohttp.ClientSession) -> Notice | None:
        headers = await self._headers(cloud, http)
        for question in QUESTIONS[cloud]:
            async with http.get(self._at[cloud] + question, headers=headers) as answer:
                found = notice(question, await answer.text(), datetime.now(UTC)) if answer.status == 200 else None
            if found is not None:
                return found
        return None

    async def _headers(self, cloud: Cloud, http: aiohttp.ClientSession) -> dict[str, Any]:
        """Returns a token of the machine's own, which AWS wants to see, or the header that Google Cloud wants."""
        if cloud == "gcp":
            return {"metadata-flavor": "Google"}
        async with http.put(self._at[cloud] + TOKEN, headers={"x-aws-ec2-metadata-token-ttl-seconds": TOKEN_S}) as answer:
            answer.raise_for_status()
            return {"x-aws-ec2-metadata-token": await answer.text()}
