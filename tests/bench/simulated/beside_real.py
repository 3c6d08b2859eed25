"""The simulator beside real engines: `python -m tests.bench.simulated.beside_real`, on a machine that does nothing else.

Three real replicas of tiny Scout serve requests at random times, once at each of three rates below saturation. Four numbers of the
simulated engine (seconds of a step, of a prompt token in it, of a request in it, and of the way there) are fitted to the middle rate. The
requests of the other two are simulated with these, at their times, and stand beside the real ones: first tokens, and tokens a second.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np

from configs import schema
from deployments.simulation.autoscaling.rules import Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import StepTimes
from deployments.simulation.loads.traces import Traced
from deployments.simulation.setup import Setup
from tests.bench import report
from tests.bench.process import free_port
from tests.e2e.conftest import SMALL, Herd, up, wait_for

RESULTS = Path(__file__).parents[1] / "results" / "simulated_beside_real.json"
MODEL, REPLICAS, SEQUENCES = "llama-4-scout-tiny", 3, 32
#: Requests a second, the one that is fitted first; and seconds of each.
RATES, SECONDS = (1.0, 0.5, 1.5), 110.0
#: Tokens of an answer, and words of a prompt: a word is two tokens or so.
ANSWER_TOKENS, WORDS = 48, (20, 300)
#: Tries of the fit, and by how much one try changes a number at most.
TRIES, CHANGED = 600, 1.5
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Times:
    """What is fitted, in seconds."""

    step: float = 0.008
    prompt_token: float = 0.0001
    request: float = 0.0003
    way: float = 0.006


class Linear(StepTimes):
    """Steps whose time is that of a step, of its prompt tokens and of its requests, added up; contexts are short."""

    def __init__(self, times: Times) -> None:
        self._times = times

    def step(self, prefill_tokens: int, prefill_pairs: int, decodes: int, context_tokens: int) -> float:
        """Returns the seconds of one step."""
        return self._times.step + self._times.prompt_token * prefill_tokens + self._times.request * decodes

    def decode_steps(self, decodes: int, context_tokens: int, steps: int) -> float:
        """Returns the seconds of so many steps."""
        return steps * self.step(0, 0, decodes, context_tokens)

    def steps_before(self, seconds: float, decodes: int, context_tokens: int, most: int) -> tuple[int, float]:
        """Returns how many steps end in less than so many seconds, and the seconds that these take."""
        one_s = self.step(0, 0, decodes, context_tokens)
        steps = min(most, max(0, int(np.ceil(seconds / one_s)) - 1))
        return steps, steps * one_s


@dataclass(frozen=True, slots=True)
class Served:
    """How one request went."""

    asked: Traced
    first_s: float
    end_s: float


def config(port: int) -> dict[str, Any]:
    """Three replicas of one model."""
    engine = SMALL | {"max_num_seqs": SEQUENCES, "skip_mm_profiling": True}
    model = {"id": MODEL, "kind": MODEL, "checkpoint": f"small:{MODEL}", "context_tokens": 2048, "replicas": REPLICAS, "engine": engine}
    return {"name": "beside", "gateway": {"port": port}, "models": [model]}


async def asked(http: httpx.AsyncClient, at_s: float, prompt: str) -> Served:
    """Sends one request, and reads its stream."""
    body = {"model": MODEL, "prompt": prompt, "max_tokens": ANSWER_TOKENS, "ignore_eos": True, "stream": True}
    began, first_s, usage = time.monotonic(), 0.0, ""
    async with http.stream("POST", "/v1/completions", json=body | {"stream_options": {"include_usage": True}}) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            first_s = first_s or time.monotonic() - began
            usage = line if '"usage":{' in line else usage
    tokens = json.loads(usage.removeprefix("data: "))["usage"]["prompt_tokens"]
    return Served(Traced(at_s, tokens, ANSWER_TOKENS, ()), first_s, time.monotonic() - began)


async def real(endpoint: str, rate: float, seconds: float, seed: int) -> list[Served]:
    """Sends requests at random times; returns how each went."""
    dice, begun, tasks, at_s = Random(seed), time.monotonic(), [], 0.0
    async with httpx.AsyncClient(base_url=endpoint, timeout=120, limits=httpx.Limits(max_connections=500)) as http:
        while (at_s := at_s + dice.expovariate(rate)) < seconds:
            prompt = " ".join(str(dice.randrange(10_000)) for _ in range(dice.randint(*WORDS)))
            await asyncio.sleep(max(0.0, begun + at_s - time.monotonic()))
            tasks.append(asyncio.create_task(asked(http, time.monotonic() - begun, prompt)))
        return await asyncio.gather(*tasks)


def simulated(requests: Sequence[Traced], times: Times) -> list[Served]:
    """Simulates requests; how each went."""
    limits = schema.Limits(queue_s=3600, queue_requests=100_000)
    setup = Setup(Size(100_000, 16, 2048, SEQUENCES), Linear(times), least=REPLICAS, most=REPLICAS, replicas=REPLICAS, limits=limits)
    found = Simulation(setup, Static(REPLICAS), 1).run(requests).requests
    went = zip(requests, found.first_s, found.end_s, strict=True)
    return [Served(one, first_s + times.way, end_s + times.way) for one, first_s, end_s in went]


def figures(served: Sequence[Served]) -> Figures:
    """What is compared."""
    first, end = ([getattr(one, name) for one in served] for name in ("first_s", "end_s"))
    over_s = max(one.asked.at_s + one.end_s for one in served)
    made = {f"ttft_p{percent}_s": float(np.percentile(first, percent)) for percent in (50, 90)}
    made |= {f"e2e_p{percent}_s": float(np.percentile(end, percent)) for percent in (50, 90)}
    return made | {"tokens_per_s": sum(one.asked.output_tokens for one in served) / over_s}


def wrong(found: Figures, truth: Figures) -> Figures:
    """By how much figures are wrong, as a share of the true ones."""
    return {name: found[name] / value - 1 for name, value in truth.items()}


def fitted(served: Sequence[Served]) -> Times:
    """Fits the four numbers: of random changes each one that is better is taken."""
    dice, truth, requests = Random(1), figures(served), [one.asked for one in served]
    best, least = Times(), float("inf")
    for number in range(TRIES):
        most = 1 + (CHANGED - 1) * (1 - number / TRIES)
        names = tuple(asdict(best))
        tried = replace(best, **{name: getattr(best, name) * dice.uniform(1 / most, most) for name in names}) if number else best
        if (away := sum(share**2 for share in wrong(figures(simulated(requests, tried)), truth).values())) < least:
            best, least = tried, away
    return best


def measured(herd: Herd, seconds: float) -> dict[float, list[Served]]:
    """The real requests at each rate."""
    wait_for("all replicas", lambda: len(herd.replicas(MODEL)) == REPLICAS, within_s=120)
    asyncio.run(real(herd.endpoint, 2.0, 15.0, 0))  # the first requests of an engine are slow
    return {rate: asyncio.run(real(herd.endpoint, rate, seconds, number)) for number, rate in enumerate(RATES, 1)}


def main() -> None:
    """Measures, fits, simulates, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--busy", action="store_true", help="also on a machine that does other things")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked_for = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, up(Path(folder), config(free_port())) as herd:
        served = measured(herd, asked_for.seconds)
    times = fitted(served[RATES[0]])
    rows = {}
    for rate, truth in served.items():
        said, found = figures(truth), figures(simulated([one.asked for one in truth], times))
        rows[str(rate)] = {"requests": len(truth), "real": said, "simulated": found, "wrong": wrong(found, said)}
        print(rate, {name: f"{said[name]:.3f} {found[name]:.3f} {share:+.1%}" for name, share in wrong(found, said).items()}, flush=True)
    settings = {"replicas": REPLICAS, "seconds": asked_for.seconds, "fitted_to": RATES[0], "machine_quiet": not asked_for.busy}
    about = report.about("tests.bench.simulated.beside_real")
    report.save(asked_for.out, about | {"settings": settings, "fitted": asdict(times), "rates": rows})


if __name__ == "__main__":
    main()
