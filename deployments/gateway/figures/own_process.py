"""The gateway's own process among its metrics: its CPU time, its memory, and how late its event loop is.

Decides how often the loop is measured: once a second, which costs a request nothing.
"""

import asyncio
import time

import psutil

from deployments.gateway.replicas.loops import end
from monitoring.export import Meter
from monitoring.metrics import GATEWAY_CPU, GATEWAY_MEMORY, LOOP_LAG

PERIOD_S = 1.0


class OwnProcess:
    """Measures the process, from its making until `stop`. It needs a running event loop."""

    def __init__(self, meter: Meter, period_s: float = PERIOD_S) -> None:
        """Args:
        meter: shows what is measured.
        period_s: between two measurements of the loop.
        """
        self._meter, self._period_s = meter, period_s
        self._process = psutil.Process()
        self._task = asyncio.get_running_loop().create_task(self._measure())

    def show(self) -> None:
        """Shows the CPU time and the memory of now."""
        self._meter.show(GATEWAY_CPU, value=time.process_time())
        self._meter.show(GATEWAY_MEMORY, value=self._process.memory_info().rss)

    @property
    def alive(self) -> bool:
        """It still measures."""
        return not self._task.done()

    async def stop(self) -> None:
        """Measures no more."""
        await end((self._task,))

    async def _measure(self) -> None:
        while True:
            due_s = time.monotonic() + self._period_s
            await asyncio.sleep(self._period_s)
            self._meter.observe(LOOP_LAG, value=max(0.0, time.monotonic() - due_s))
