"""A gateway in a process of its own, as production builds it, in front of fake engines: what it costs and withstands without a real one.

Prints its port, and ends when its standard input does.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import psutil
import uvloop

from configs.schema import Limits, Model
from tests.bench.process import serving
from tests.hostile.case import SCOUT, SMOLLM
from tests.hostile.fake_engine import fake_engine
from tests.path.fake_engine import FakeEngine
from tests.path.herd import herd_of, limits

#: The names of the real herd's models, so that the same cases can be sent to both.
MODELS = (
    Model(id=SMOLLM, aliases=("smollm2",), kind="smollm2-135m", checkpoint="small:x", context_tokens=2048),
    Model(id=SCOUT, aliases=("scout",), kind="llama-4-scout-tiny", checkpoint="small:y", context_tokens=8192),
)


@dataclass(frozen=True, slots=True)
class At:
    """Where a fake engine listens."""

    port: int


@dataclass(frozen=True, slots=True)
class Alone:
    """A running gateway."""

    port: int
    process: psutil.Process

    @property
    def rss_mib(self) -> float:
        """Its memory now."""
        return float(self.process.memory_info().rss) / (1 << 20)


async def _serve(changed: dict[str, float], *ports: int) -> None:
    engines = cast("list[FakeEngine]", [At(port) for port in ports])
    wanted: Limits = limits(**changed)
    # A trailer may swallow the `connection: close` behind it; such a connection ends by this time, which is below any patience here.
    async with herd_of([], wanted, models=MODELS, keep_alive_s=5) as herd:
        for model in MODELS:
            herd.has(*engines, model=model.id)
        print(herd.port, flush=True)
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads on: a full pipe would hold the gateway up
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextlib.contextmanager
def gateway(**changed: Any) -> Iterator[Alone]:
    """A gateway and two fake engines while this lasts.

    Args:
        changed: limits that differ from those of the path's tests.
    """
    with (
        fake_engine() as one,
        fake_engine() as other,
        serving("tests.hostile.alone", json.dumps(changed), str(one), str(other)) as running,
    ):
        yield Alone(int(running.line), running.process)


if __name__ == "__main__":
    uvloop.run(_serve(json.loads(sys.argv[1]), *map(int, sys.argv[2:])))
