"""Records and limits for tests of scaling."""

from typing import Any

from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.work import Pace
from deployments.policy.queue.load_record import BUCKET_S, Counted, EngineLoads, LoadRecord, Usual
from deployments.policy.scaling.load_report import Unit
from deployments.policy.scaling.wanted import Wanted

T = 1_000_000.0
FIRST = int(T / BUCKET_S)
RELEASE = "1.0"
TUNING = Tuning(patience_s=20, step_down_s=5)


def bucket(after: int, requests: float = 0.0, prompt_tokens: float = 0.0, **more: Any) -> Counted:
    """What happened in the bucket that begins so many buckets after `T`."""
    return Counted(FIRST + after, requests, prompt_tokens, **more)


def record(at_s: float, *buckets: Counted, gateway: str = "gw", **more: Any) -> LoadRecord:
    """A gateway's record, written so many seconds after `T`."""
    said: dict[str, Any] = {"release": RELEASE, "since_s": T - 1000, "engines": EngineLoads(ready=1), "usual": Usual(10, 100, 4.0), **more}
    return LoadRecord(gateway=gateway, at_s=T + at_s, buckets=buckets, **said)


def wanted(unit: Unit = "requests", target: float = 2.0, ranks: int = 1, **more: Any) -> Wanted:
    """A model of 1 to 4 replicas, each of which carries `target` requests."""
    said: dict[str, Any] = {"least": 1, "most": 4, "release": RELEASE, "expected_start_s": 20.0, "tuning": TUNING, **more}
    pace = said.pop("pace", Pace(1e12, 1e12, target) if unit == "requests" else Pace(1000, 100, 10_000))
    return Wanted(Limits(pace=pace, **said), unit, target, ranks)
