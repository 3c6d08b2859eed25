"""The pace and the memory of the simulator: `python -m tests.bench.simulated_million`.

So many replicas of Scout serve so many requests in virtual time, which come at random at a steady rate: production's routing and
admission, on one core. Each number of replicas is simulated in a process of its own, because a process's peak of memory never falls.
Prompts have no common beginnings, as those of `herd simulate --load`. Writes `results/simulated_million.json`; with `--replicas` it writes
nothing.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cluster.scaling.work import Slo
from deployments.simulation.autoscaling.rules import Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.loads.generated import Lengths, load
from deployments.simulation.loads.traces import Traced
from deployments.simulation.setup import Setup
from tests.bench import report

RESULTS = Path(__file__).parent / "results" / "simulated_million.json"
#: Requests that are simulated, by the number of replicas.
ROWS = {4: 100_000, 100: 200_000, 1000: 1_000_000}
#: Most seconds of one core, and most MiB, for a million requests over a thousand replicas.
BAR = {"cpu_s": 300, "peak_mib": 1024}
#: Requests a second of one replica: prompts begin to be computed soon, and seven requests are under way at once.
PER_S = 1.2
LENGTHS, KV_TOKENS, SEED = Lengths(2000, 300), 100_000, 1
SLO = Slo(1.0, 0.05)
Row = dict[str, float]


def arrivals(requests: int, per_s: float) -> Iterator[Traced]:
    """Yields so many requests, at random times."""
    seconds = requests / per_s + 1e-4  # a text has four decimals, and the last request must not be lost to them
    return load(f"step:{per_s:.4f}@{seconds:.4f}", LENGTHS).requests(SEED)


def simulated(replicas: int, requests: int) -> Row:
    """Simulates one row; returns its figures. The process is taken to be new."""
    setup = Setup(Size(KV_TOKENS), StepTimes(SCOUT_ON_H100), least=replicas, most=replicas, replicas=replicas)
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    outcome = Simulation(setup, Static(replicas), SEED).run(arrivals(requests, PER_S * replicas))
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = outcome.figures(SLO)
    said = {name: round(figures[name], 4) for name in ("attainment", "refused", "ttft_p50_s", "ttft_p99_s", "itl_p90_s")}
    several = len(outcome.requests)
    return {
        "requests": several,
        "took_s": round(took_s, 1),
        "cpu_s": round(cpu_s, 1),
        "requests_per_cpu_s": round(several / cpu_s),
        "peak_mib": round(peak_mib),
        "simulated_s": round(outcome.until_s),
        **said,
    }


def alone(replicas: int, requests: int) -> Row:
    """Simulates one row in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(simulated, replicas, requests).result()


def table(rows: dict[str, Row]) -> Table:
    """For people."""
    shown = Table("replicas", *next(iter(rows.values())))
    for replicas, row in rows.items():
        shown.add_row(replicas, *(f"{value:,g}" for value in row.values()))
    return shown


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, help="simulate this number of replicas alone; nothing is written")
    parser.add_argument("--requests", type=int, help="simulate so many requests over each number of replicas, not a million over the most")
    parser.add_argument("--busy", action="store_true", help="other programs ran meanwhile: written down beside the figures")
    asked = parser.parse_args()
    of_replicas = ROWS if asked.replicas is None else {asked.replicas: ROWS.get(asked.replicas, max(ROWS.values()))}
    rows = {str(replicas): alone(replicas, asked.requests or requests) for replicas, requests in of_replicas.items()}
    Console(width=160).print(table(rows))
    if asked.replicas is None:
        lengths = {"prompt_tokens": LENGTHS.prompt_tokens, "output_tokens": LENGTHS.output_tokens}
        about_load = {"per_s_of_one_replica": PER_S, **lengths, "kv_tokens": KV_TOKENS}
        settings = {**about_load, "machine_quiet": not asked.busy, "bar": BAR}
        report.save(RESULTS, report.about("tests.bench.simulated_million") | {"settings": settings, "replicas": rows})


if __name__ == "__main__":
    main()
