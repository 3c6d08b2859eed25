"""`make chaos`: what is killed or cut under load, how often, and what it costs: `python -m tests.multihost.chaos`.

Fake hosts, real Ray, real vLLM: a head without GPUs and workers, with two replicas of a small model, or with one engine over two hosts and
a spare; a gateway on every host, HAProxy before them and Redis outside, all from what `herd cluster emit` writes. Clients ask all the time,
and each answer is compared with what was said undisturbed. Writes `tests/bench/results/chaos.json`. As root, with the packages of
`make multihost` and redis-server.
"""

import argparse
import json
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from deployments.progress import Say
from tests.bench import report
from tests.multihost.bed import Bed, Suffered, bed, lacking
from tests.multihost.clients import Tally
from tests.multihost.faults import FAULTS, Fault

RESULTS = Path(__file__).parents[1] / "bench" / "results" / "chaos.json"
COUNTED = ("requests", "failed", "refused", "broken", "wrong")


@dataclass(kw_only=True)
class Cost(Tally):
    """What one fault cost, over all of its times."""

    fault: str
    saves: str
    times: int = 0
    full_service_s: list[float] = field(default_factory=list)
    """One number a time, as the next two; theirs only where somebody was refused."""
    told_s: list[int] = field(default_factory=list)
    """What the first who was refused was told to wait."""
    away_s: list[float] = field(default_factory=list)
    """How long it took from there until somebody was answered."""
    new_engines: int = 0

    def add(self, once: Suffered) -> None:
        """Once more."""
        self.times += 1
        for name in COUNTED:
            setattr(self, name, getattr(self, name) + getattr(once.tally, name))
        self.slowest_s = round(max(self.slowest_s, once.tally.slowest_s), 1)
        self.complaints += once.tally.complaints[:5]
        for first in once.promises[:1]:
            self.told_s.append(first.told_s)
            self.away_s.append(first.took_s)
        self.full_service_s.append(round(once.full_service_s, 1))
        self.new_engines += once.new_engines


def measured(faults: Sequence[Fault], times: int, say: Say) -> Iterator[Sequence[Cost]]:
    """Each fault so many times, one after the other, on as many clusters as there are shapes; what all cost so far after each."""
    costs = {fault.name: Cost(fault=fault.name, saves=fault.saves) for fault in faults}
    for shape in dict.fromkeys(fault.shape for fault in faults):
        here = [fault for fault in faults if fault.shape is shape]
        with tempfile.TemporaryDirectory(prefix="llama-herd-chaos-") as folder, bed(Path(folder) / "hosts", shape, say) as made:
            for _ in _each(made, here * times, costs, say):
                yield list(costs.values())


def _each(made: Bed, faults: Sequence[Fault], costs: Mapping[str, Cost], say: Say) -> Iterator[None]:
    for fault in faults:
        cost = costs[fault.name]
        say(f"{fault.name}, the {cost.times + 1}. time")
        try:
            cost.add(made.suffer(fault))
        except (TimeoutError, KeyboardInterrupt, RuntimeError) as error:  # what was seen until then is still worth having
            cost.complaints.append(f"{type(error).__name__}: {error}")
            say(f"{cost.complaints[-1]}\n{made.seen()}")
            yield
            return
        counts = ", ".join(f"{getattr(cost, name)} {name}" for name in COUNTED)
        say(f"  {counts}; told {cost.told_s} s, took {cost.away_s} s; whole after {cost.full_service_s[-1]:.0f} s")
        yield


def table(costs: Sequence[dict[str, Any]]) -> Table:
    """As a person reads it."""
    shown = Table("killed or cut", "times", *COUNTED, "told to wait", "away", "full service after", "new engines", "what brings it back")
    for one in costs:
        told, away, after = (_seconds(one[name]) for name in ("told_s", "away_s", "full_service_s"))
        counts = (str(one[name]) for name in ("times", *COUNTED))
        shown.add_row(one["fault"], *counts, told, away, after or "never", str(one["new_engines"]), one["saves"])
    return shown


def _seconds(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.0f} s" for value in values)


def renewed(path: Path, costs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """These rows, and those that were measured before of all faults that it did not come to, in the faults' order."""
    before = json.loads(path.read_text(encoding="utf-8"))["faults"] if path.exists() else []
    rows = {one["fault"]: one for one in [*before, *(one for one in costs if one["times"] or one["complaints"])]}
    return [rows[fault.name] for fault in FAULTS if fault.name in rows]


def main() -> None:
    """Kills, cuts, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2, help="how often each")
    parser.add_argument(
        "--only", nargs="*", help="renew these alone; the other results stay as they are", choices=[fault.name for fault in FAULTS]
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    wanted = parser.parse_args()
    console = Console(width=160)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the hosts' folder goes with them, however it ends
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if why_not := lacking():
        parser.exit(1, f"{why_not}\n")
    faults = [fault for fault in FAULTS if not wanted.only or fault.name in wanted.only]
    costs: list[dict[str, Any]] = []
    for so_far in measured(faults, wanted.times, console.log):
        costs = [asdict(cost) | {"measured": report.about("tests.multihost.chaos")} for cost in so_far]
        report.save(wanted.out, {"faults": renewed(wanted.out, costs)})  # each time: an hour is long enough for something to end it
    console.print(table(costs), *(line for cost in costs for line in cost["complaints"]), sep="\n")


if __name__ == "__main__":
    main()
