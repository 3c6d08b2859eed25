"""Our gateway as production builds it, but for Ray: its real listener, pipeline and router in a process of its own, over engines by port.

The engines' reports are asked for over HTTP. Prints its port, and ends when its standard input does.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
import uvloop
from pydantic import SecretStr

from configs.gateway_config import GatewayConfig
from configs.routing import Routing
from configs.schema import Limits, LiveSettings, Model
from deployments.gateway.assembly import Cluster, Process, Serving
from deployments.gateway.replicas.report_stream import PATH
from deployments.policy.fleet.reclaim_notices import Notice
from deployments.policy.request.pages import Pages
from deployments.policy.routing.replica_report import view_of
from deployments.policy.routing.types import ReplicaView
from deployments.wire.engine.answer import EngineGone
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address
from tests.bench.simulated.cluster import MODEL

_KEY = "simulated"
_LONG_S = 3600.0
#: Between two looks at who is there.
_ROSTER_S = 1.0


async def _report(engines: Engines, port: int) -> ReplicaView | None:
    try:
        answer = await engines.exchange(Address("127.0.0.1", port), b"GET", PATH, (), b"")
        try:
            said = msgspec.json.decode(await answer.read())
        finally:
            answer.close()
    except EngineGone:
        return None
    return view_of(said)


async def _nobody() -> Sequence[Mapping[str, Any]]:
    return ()


async def _none(model: str) -> int:
    return 0


def _no_notice(_notice: Notice) -> str | None:
    return None


async def _serve(ports: Sequence[int], policy: str, period_s: float, queue_s: float) -> None:
    config = GatewayConfig(
        gateway=LiveSettings(
            limits=Limits(first_byte_s=_LONG_S, total_s=_LONG_S, queue_s=queue_s),
            routing=Routing.model_validate({"policy": policy}),
            roster_period_s=_ROSTER_S,
            load_period_s=period_s,
        ),
        models=(Model(id=MODEL, kind="llama-4-scout", checkpoint="small:simulated", context_tokens=1 << 20),),
    )
    reports = Engines(_KEY)

    async def discover(_model: str) -> Sequence[ReplicaView]:
        views = await asyncio.gather(*(_report(reports, port) for port in ports))
        return [view for view in views if view is not None]

    process = Process("127.0.0.1", 0, metrics_host="127.0.0.1", pages=Pages(), engine_key=SecretStr(_KEY), stop_s=1.0)
    serving = Serving(config, process, Cluster(_nobody, _none, _no_notice, discover))
    while not serving.roster.ready(MODEL):  # noqa: ASYNC110 (a roster sets no event)
        await asyncio.sleep(0.01)
    print(serving.address.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await serving.stop()
    reports.close()


def main() -> None:
    """Serves until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ports", required=True, help="the engines' ports, with commas between")
    parser.add_argument("--policy", default="herd")
    parser.add_argument("--period-s", type=float, default=0.2, help="between two reports of an engine")
    parser.add_argument("--queue-s", type=float, default=30, help="longest wait for room at an engine")
    asked = parser.parse_args()
    # Its standard output says one thing only: the port.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    uvloop.run(_serve([int(port) for port in asked.ports.split(",")], asked.policy, asked.period_s, asked.queue_s))


if __name__ == "__main__":
    main()
