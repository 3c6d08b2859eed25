"""A real Prometheus for tests, and the herd's alerts with all their times made shorter."""

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.bench.process import free_port
from tests.path.fake_engine import WAIT_S

ALERTS = Path(__file__).parents[2] / "monitoring" / "alerts"
NEEDED = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: apt-get install prometheus)")
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
async def prometheus(folder: Path, config: dict[str, Any]) -> AsyncIterator[Prometheus]:
    """A Prometheus with this configuration, once it serves."""
    port = free_port()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    process = _started(folder, port)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S, trust_env=False) as http:
            async with asyncio.timeout(60):
                while not await _ready(http):
                    assert process.poll() is None, (folder / "prometheus.log").read_text(encoding="utf-8")
                    await asyncio.sleep(0.1)
            yield Prometheus(http)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


def _started(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "prometheus.log").open("wb") as log:
        return subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)


async def _ready(http: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return (await http.get("/-/ready")).status_code == 200
    return False
