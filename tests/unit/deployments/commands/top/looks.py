"""Looks at a herd that is made up: many models, many replicas, many gateways."""

from collections.abc import Mapping, Sequence

from deployments.commands.looking.top.figures import Look
from deployments.commands.looking.top.metrics_page import Counters, Histogram
from deployments.policy.fleet.model_state import ModelState, Standing
from deployments.policy.fleet.seats import Seat
from deployments.policy.fleet.why import Facts
from deployments.policy.records.verdict import Verdict

BOUNDS = (0.1, 0.2, 0.4)
NOW_S = 1_800_000_000.0


def facts(model: str, ready: int = 1, ongoing: int = 3, waiting: int = 1, size: Verdict | None = None) -> Facts:
    """A model that runs."""
    seats = tuple(
        Seat(f"{model}#r{number:04d}", "ready", f"10.0.0.{number % 250}", 8, since=NOW_S - 60, waiting=waiting) for number in range(ready)
    )
    state = ModelState.RUNNING if ready else ModelState.STARTING
    return Facts(model, Standing(state, ready, ready, ongoing * ready), seats, queue=7, size=size)


def counters(requests: float = 0, tokens: float = 0, ttft: Sequence[float] = (), itl: Sequence[float] = (), **more: float) -> Counters:
    """What a gateway has counted."""
    return Counters(requests, more.get("failed", 0), tokens, more.get("waiting", 0), histogram(ttft), histogram(itl))


def histogram(counts: Sequence[float]) -> Histogram:
    return Histogram(BOUNDS, tuple(counts)) if counts else Histogram()


def look(at_s: float, models: Sequence[Facts], pages: Mapping[str, Mapping[str, Counters]], **more: object) -> Look:
    """One look."""
    return Look(at_s, {one.model: one for one in models}, pages=pages, asked=len(pages), **more)  # type: ignore[arg-type]


def many(at_s: float, models: int, replicas: int, gateways: int = 4) -> Look:
    """A look at a large herd, whose counters grow with time."""
    names = [f"model-{number:03d}" for number in range(models)]
    sizes = [Verdict(NOW_S, 4, 3, "The load grows, and a start takes 95 s.", 3.2) if number % 2 else None for number in range(models)]
    known = [facts(name, replicas // models, size=size) for name, size in zip(names, sizes, strict=True)]
    one = counters(10 * at_s, 2000 * at_s, (at_s, 5 * at_s, at_s, 0), (at_s, 90 * at_s, at_s, 0), waiting=2)
    return look(at_s, known, {f"10.1.0.{number}:9000": dict.fromkeys(names, one) for number in range(gateways)})
