"""The simulator beside real engines: `python -m tests.bench.simulated.beside_real`, on Linux, as root.

Three real replicas of tiny Scout serve requests at random times, at three rates below saturation that take turns. Each replica has a fixed
share of one core (`cpu_shares`), so that none slows another, as if each had a GPU. A few numbers of the simulated engine (`Times`) are
fitted to the middle rate. The requests of the other two are simulated with these, at their times, and stand beside the real
ones: first tokens, and tokens a second. Programs that have nothing to do with it should not run; what they took is written down.
"""

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count, product
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np
import psutil

from configs import schema
from deployments.policy.request.prompt_blocks import BLOCK_TOKENS, prompt_of
from deployments.simulation.autoscaling.rules import Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import StepTimes
from deployments.simulation.loads.traces import Traced
from deployments.simulation.setup import Setup
from tests.bench import report
from tests.bench.process import free_port
from tests.bench.simulated.cpu_shares import Others, Placed, placed
from tests.e2e.conftest import SMALL, Herd, processes_of, up, wait_for
from tests.victims import process_of

RESULTS = Path(__file__).parents[1] / "results" / "simulated_beside_real.json"
MODEL, REPLICAS, SEQUENCES = "llama-4-scout-tiny", 3, 32
#: Of one core, for each replica.
SHARE = 0.4
#: Requests a second, the one that is fitted first; seconds of each, and into how many pieces these are cut. Rates take turns, because the
#: cores of a virtual machine are faster in one minute than in the next.
RATES, SECONDS, PIECES = (1.8, 1.2, 2.4), 100.0, 3
#: Tokens of an answer, and words of a prompt: a word is two tokens or so.
ANSWER_TOKENS, WORDS = 8, (20, 300)
#: Percentiles that are fitted, and those that are compared.
FITTED, COMPARED = (10, 25, 50, 75, 90), (50, 90)
#: Tries of the fit, and by how much one try changes a number at most.
TRIES, CHANGED = 600, 1.5
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Times:
    """What is fitted, in seconds."""

    step: float = 0.05
    prompt_token: float = 0.0002
    request: float = 0.05
    """Whether it decodes or its prompt is computed."""
    way: float = 0.01


class Linear(StepTimes):
    """Steps whose time is that of a step, of its prompt tokens and of its requests, added up; contexts are short."""

    def __init__(self, times: Times) -> None:
        self._times = times

    def step(self, prefill_tokens: int, prefill_pairs: int, decodes: int, context_tokens: int) -> float:
        """Returns the seconds of one step."""
        requests = decodes + (prefill_tokens > 0)  # two prompts in one step are rare below saturation
        return self._times.step + self._times.prompt_token * prefill_tokens + self._times.request * requests

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


Pieces = Sequence[Sequence[Served]]
"""All requests of one rate, piece by piece; times begin anew with each."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The requests of the real replicas, and how fast these are."""

    pieces: dict[float, list[list[Served]]]
    """By rate."""
    most_tokens_per_s: float
    """Of as many requests at once as run at once."""
    others: dict[float, float]
    """By rate: of one core, what programs took that have nothing to do with it, and the kernel."""


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
    return Served(Traced(at_s, tokens, ANSWER_TOKENS, prompt_of(body, MODEL).blocks), first_s, time.monotonic() - began)


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
    size = Size(65_536, BLOCK_TOKENS, 2048, SEQUENCES)
    setup = Setup(size, Linear(times), least=REPLICAS, most=REPLICAS, replicas=REPLICAS, limits=limits)
    found = Simulation(setup, Static(REPLICAS), 1).run(requests).requests
    went = zip(requests, found.first_s, found.end_s, strict=True)
    return [Served(one, first_s + times.way, end_s + times.way) for one, first_s, end_s in went]


def as_simulated(pieces: Pieces, times: Times) -> Pieces:
    """Simulates the requests of each piece."""
    return [simulated([one.asked for one in piece], times) for piece in pieces]


def figures(pieces: Pieces, percentiles: Sequence[int] = COMPARED) -> Figures:
    """What is compared."""
    served = list(chain.from_iterable(pieces))
    over_s = sum(max(one.asked.at_s + one.end_s for one in piece) for piece in pieces)
    made: Figures = {}
    for name, values in {"ttft": [one.first_s for one in served], "e2e": [one.end_s for one in served]}.items():
        made |= {f"{name}_p{percent}_s": float(np.percentile(values, percent)) for percent in percentiles}
    return made | {"tokens_per_s": sum(one.asked.output_tokens for one in served) / over_s}


def wrong(found: Figures, truth: Figures) -> Figures:
    """By how much figures are wrong, as a share of the true ones."""
    return {name: found[name] / value - 1 for name, value in truth.items()}


def fitted(pieces: Pieces) -> Times:
    """Fits the numbers: of random changes each one that is better is taken."""
    dice, truth = Random(1), figures(pieces, FITTED)
    best, least = Times(), float("inf")
    for number in range(TRIES):
        most = 1 + (CHANGED - 1) * (1 - number / TRIES)
        names = tuple(asdict(best))
        tried = replace(best, **{name: getattr(best, name) * dice.uniform(1 / most, most) for name in names}) if number else best
        if (away := sum(share**2 for share in wrong(figures(as_simulated(pieces, tried), FITTED), truth).values())) < least:
            best, least = tried, away
    return best


@contextlib.contextmanager
def apart(herd: Herd) -> Iterator[list[psutil.Process]]:
    """Gives each replica its share of a core, and all else of the herd, and this program, the last core; tells what processes these are."""
    cores, ours = sorted(os.sched_getaffinity(0)), [*processes_of(herd), psutil.Process()]
    placements = {"beside-real": Placed(ours, 1, cores[-1])}
    for number, one in enumerate(herd.replicas(MODEL)):
        placements[f"beside-real-{number}"] = Placed([process_of(one)], SHARE, cores[number % len(cores)])
    with placed(placements):
        yield ours


def measured(herd: Herd, seconds: float) -> Measured:
    """The real requests at each rate, after as many as run at once."""
    pieces: dict[float, list[list[Served]]] = {rate: [] for rate in RATES}
    others_took, seeds = dict.fromkeys(RATES, 0.0), count()  # equal seeds make equal prompts, which engines remember
    wait_for("all replicas", lambda: len(herd.replicas(MODEL)) == REPLICAS, within_s=120)
    with apart(herd) as ours:
        for _ in range(2):  # the first requests of an engine are slow
            all_at_once = asyncio.run(real(herd.endpoint, 1000.0, REPLICAS * SEQUENCES / 1000, next(seeds)))
        for _, rate in product(range(PIECES), RATES):
            others, began = Others(ours), time.monotonic()
            pieces[rate].append(asyncio.run(real(herd.endpoint, rate, seconds / PIECES, next(seeds))))
            others_took[rate] += others.taken_s() / (time.monotonic() - began) / PIECES
    return Measured(pieces, figures([all_at_once])["tokens_per_s"], others_took)


def compared(measured: Measured, times: Times) -> dict[str, Any]:
    """The real figures of each rate beside the simulated ones."""
    rows: dict[str, Any] = {}
    for rate, pieces in sorted(measured.pieces.items()):
        truth, found = figures(pieces), figures(as_simulated(pieces, times))
        about = {"requests": sum(map(len, pieces)), "others_took_of_a_core": measured.others[rate]}
        rows[str(rate)] = about | {"real": truth, "simulated": found, "wrong": wrong(found, truth)}
        print(rate, {name: f"{truth[name]:.3f} {found[name]:.3f} {share:+.1%}" for name, share in wrong(found, truth).items()}, flush=True)
    return rows


def main() -> None:
    """Measures, fits, simulates, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked_for = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, up(Path(folder), config(free_port())) as herd:
        found = measured(herd, asked_for.seconds)
    times = fitted(found.pieces[RATES[0]])
    settings = {"replicas": REPLICAS, "share_of_a_core": SHARE, "seconds": asked_for.seconds, "pieces": PIECES, "fitted_to": RATES[0]}
    settings |= {"answer_tokens": ANSWER_TOKENS, "prompt_words": WORDS, "most_tokens_per_s": found.most_tokens_per_s}
    about = report.about("tests.bench.simulated.beside_real")
    report.save(asked_for.out, about | {"settings": settings, "fitted": asdict(times), "rates": compared(found, times)})


if __name__ == "__main__":
    main()
