"""A real Prometheus for tests, and the herd's alerts with all their times made shorter."""

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.path.fake_engine import WAIT_S
from tests.prometheus_program import MISSING, start

ALERTS = Path(__file__).parents[2] / "monitoring" / "alerts"
NEEDED = pytest.mark.skipif(shutil.which("prometheus") is None, reason=MISSING)
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: A time behind `interval:`, `for:` or `offset`, or in brackets. A number is no time.
_TIME = re.compile(r"(?<=interval: )(\d+)([smhd])\b|(?<=for: )(\d+)([smhd])\b|(?<=offset )(\d+)([smhd])\b|(?<=\[)(\d+)([smhd])(?=\])")


def faster(rules: str, times: int) -> str:
    """Returns rules in which every time is so many times shorter, so that an hour of a cluster's goes by in seconds."""

    def shorter(found: re.Match[str]) -> str:
        number, unit = (one for one in found.groups() if one)
        return f"{int(number) * _UNITS_S[unit] * 1000 // times}ms"

    return _TIME.sub(shorter, rules)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    http: httpx.AsyncClient

    async def asked(self, expr: str) -> list[dict[str, Any]]:
        """Returns what an expression finds now."""
        found = (await self.http.get("/api/v1/query", params={"query": expr})).raise_for_status().json()
        return list(found["data"]["result"])

    async def alerts(self) -> list[dict[str, Any]]:
        """Returns the alerts that fire."""
        found = (await self.http.get("/api/v1/alerts")).raise_for_status().json()
        return [one for one in found["data"]["alerts"] if one["state"] == "firing"]

    async def until(self, happened: Callable[[list[dict[str, Any]]], bool], within_s: float) -> list[dict[str, Any]]:
        """Waits until the alerts that fire are as they should be."""
        async with asyncio.timeout(within_s):
            while not happened(found := await self.alerts()):  # noqa: ASYNC110 (Prometheus is asked)
                await asyncio.sleep(0.1)
        return found


@contextlib.asynccontextmanager
async def prometheus(folder: Path, config: Mapping[str, Any]) -> AsyncIterator[Prometheus]:
    """A Prometheus with this configuration, once it serves."""
    program = await asyncio.to_thread(start, folder, config)
    try:
        async with httpx.AsyncClient(base_url=program.address, timeout=WAIT_S, trust_env=False) as http:
            yield Prometheus(http)
    finally:
        await asyncio.to_thread(program.stop)
