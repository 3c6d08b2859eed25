"""The gateway's CPU time in other trees of this repository, beside this one: `python -m tests.bench.trees NAME=FOLDER ...`.

Each folder is a checkout (`git worktree add FOLDER COMMIT`). The gateways run without Ray, in front of one fake engine, in turn and on one
core, so a machine's noise falls on all of them. Read the ratios to the first tree. Writes `results/trees.json`.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from rich.console import Console

from tests.bench import gateway_cpu, report
from tests.bench.fake_engine import fake_engine
from tests.bench.gateway_cpu import Proxy, Sizes, figures, table
from tests.bench.load import CannotMeasure

RESULTS = Path(__file__).parent / "results" / "trees.json"
HERE = Path(__file__).parents[2]
#: Runs in each tree, so it uses only what every tree has; one that settles does so here as in its gateways.
SERVE = """
import asyncio, gc, sys
from types import SimpleNamespace
import uvloop
from tests.path.herd import herd_of, limits
try:
    from deployments.settled import settle
except ImportError:
    def settle():
        gc.collect(); gc.freeze()

async def main():
    engines = [SimpleNamespace(port=int(port)) for port in sys.argv[1].split(",")]
    async with herd_of(engines, limits(total_s=600, first_byte_s=300, queue_s=60), stop_s=1) as herd:
        settle()
        print(herd.port, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

uvloop.run(main())
"""
MODEL = "herd/llama"


@contextlib.contextmanager
def gateway(tree: Path, ports: Sequence[int]) -> Iterator[Proxy]:
    """Runs a tree's gateway in front of engines while this lasts.

    Raises:
        CannotMeasure: it did not begin to serve.
    """
    env = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, "-c", SERVE, ",".join(map(str, ports))]
    with subprocess.Popen(command, cwd=tree, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            if not port.isdigit():
                raise CannotMeasure(f"the gateway of {tree} did not start")
            yield Proxy(f"http://127.0.0.1:{port}", MODEL, psutil.Process(process.pid))
        finally:
            process.stdin.close()
            process.kill()


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trees", nargs="+", metavar="NAME=FOLDER", help="other trees; this one is measured last, as 'here'")
    parser.add_argument("--repetitions", type=int, default=7)
    asked = parser.parse_args()
    trees = {name: Path(folder).resolve() for name, _, folder in (one.partition("=") for one in asked.trees)} | {"here": HERE}
    console, sizes = Console(width=120), Sizes(repetitions=asked.repetitions, streams=128, requests=2000, idle_s=2)
    with contextlib.ExitStack() as stack:
        stack.enter_context(gateway_cpu.one_core())
        port = stack.enter_context(fake_engine())
        proxies = {name: stack.enter_context(gateway(tree, [port])) for name, tree in trees.items()}
        rows = {name: figures(one) for name, one in gateway_cpu.measure(proxies, sizes, console.log).items()}
    console.print(table(rows))
    commits = {name: _commit(tree) for name, tree in trees.items()}
    report.save(RESULTS, report.about("tests.bench.trees") | {"settings": gateway_cpu.settings(sizes), "commits": commits, "trees": rows})


def _commit(tree: Path) -> str:
    return subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=tree, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
