"""The whole hostile suite, with figures: `make hostile`.

    python -m tests.hostile [--cases N] [--seed N] [--only gateway|herd]
    python -m tests.hostile --attack NAME [--attack NAME ...]

A gateway with fake engines gets most of the cases, a real herd all that are written down and some that are generated. While an attack runs,
honest clients of the attacked model and of another one are timed. What is measured is written down at once; with `--only`, what the
file says of the other part stays as it was. With `--attack`, only these of the herd's timed attacks run, beside undisturbed clients of the
same run, and only their rows change.
"""

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.report import about, save
from tests.hostile.parts import AT_ONCE, ATTACK_S, TIMED, herd_under, of_gateway, of_herd

RESULTS = Path(__file__).parents[1] / "bench" / "results" / "hostile.json"


def table(where: str, part: Mapping[str, Any]) -> Table:
    """For people: one line for each attack."""
    shown = Table(box=box.SIMPLE_HEAD, title=where)
    for title in (
        "attack",
        "sent",
        "slowest, s",
        "first token p99, times undisturbed",
        "longest stall, ms",
        "memory, MiB",
        "engines lost",
        "",
    ):
        shown.add_column(title)
    for one in part["attacks"]:
        memory = " → ".join(f"{value:.0f}" for value in one["rss_mib"])
        verdict = "[green]held[/green]" if one["held"] else f"[red]{(one['wrong'] or ['over a bar'])[0][:90]}[/red]"
        figures = (str(one["sent"]), f"{one['slowest_s']:.2f}", f"{one['times_undisturbed']:.1f}", f"{one['stall_ms']:.0f}")
        shown.add_row(one["name"], *figures, memory, str(one["engines_lost"]), verdict)
    return shown


def held(parts: Mapping[str, Any]) -> bool:
    """Whether nothing at all was wrong."""
    fuzzed = [part[name] for part in parts.values() for name in ("bytes", "fields") if name in part]
    attacks = all(one["held"] for part in parts.values() for one in part["attacks"])
    complete = all(part["complete"] for part in parts.values())
    return (
        complete
        and attacks
        and not any(one["wrong"] for one in fuzzed)
        and not any(part.get("cases", {}).get("failed") for part in parts.values())
    )


class Told:
    """One part's figures, which go to the results file each time that some are told; what the file says of the other part stays."""

    def __init__(self, where: str, given: argparse.Namespace) -> None:
        self._where = where
        self._part: dict[str, Any] = {"complete": False, "settings": settings(given), "date": about("tests.hostile")["date"]}

    def __call__(self, **figures: Any) -> None:
        """Writes figures down."""
        self._part |= figures
        save(RESULTS, about("tests.hostile") | written() | {self._where: self._part})
        print(f"{datetime.now(UTC):%H:%M:%S} {self._where}: {', '.join(map(_brief, figures.items()))}", file=sys.stderr, flush=True)


class Again:
    """Rows of the herd's attacks that are run again, with the undisturbed figures of that run; all else in the file stays."""

    def __init__(self, results: Path) -> None:
        self._results = results
        self._undisturbed: dict[str, Any] = {}
        self.rows: list[dict[str, Any]] = []

    def __call__(self, **figures: Any) -> None:
        """Puts rows in the place of the old ones; a row that the file does not have comes last."""
        self._undisturbed = figures.get("undisturbed", self._undisturbed)
        self.rows = [row | {"date": about("")["date"], "undisturbed": self._undisturbed} for row in figures.get("attacks", ())]
        if not self.rows:
            return
        file = json.loads(self._results.read_text(encoding="utf-8"))
        new = {row["name"]: row for row in self.rows}
        old = file["herd"]["attacks"]
        file["herd"]["attacks"] = [new.pop(row["name"], row) for row in old] + list(new.values())
        save(self._results, file)
        print(f"{datetime.now(UTC):%H:%M:%S} herd: {_brief(('attacks', self.rows))}", file=sys.stderr, flush=True)


def _brief(figure: tuple[str, Any]) -> str:
    """Returns one line for a terminal about a figure."""
    name, value = figure
    if name == "attacks":
        return f"attack {len(value)} {value[-1]['name']} {'held' if value[-1]['held'] else 'NOT HELD'}"
    if name == "cases":
        return f"{value['tried']} cases, {len(value['failed'])} failed"
    return f"{name} {value}" if isinstance(value, int) else name


def settings(given: argparse.Namespace) -> dict[str, Any]:
    """Returns what makes two runs comparable."""
    return {"seed": given.seed, "cases": given.cases, "attack_s": ATTACK_S, "at_once": AT_ONCE}


def written() -> dict[str, Any]:
    """Returns the parts that the results file has."""
    if not RESULTS.exists():
        return {}
    file = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {where: file[where] for where in ("gateway", "herd") if where in file}


def main() -> int:
    """Runs the parts that were asked for, and prints both; returns 1 where anything was wrong or is not complete."""
    words = argparse.ArgumentParser(prog="python -m tests.hostile", description="The whole hostile suite.")
    words.add_argument("--cases", type=int, default=100_000, help="fuzzed cases in all")
    words.add_argument("--seed", type=int, default=20261128)
    some = words.add_mutually_exclusive_group()
    some.add_argument("--only", choices=("gateway", "herd"))
    some.add_argument("--attack", action="append", choices=TIMED, metavar="NAME", help="one of the herd's timed attacks; may be repeated")
    given = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the herd comes down with the command
    if given.attack:
        return again(given.attack)
    if given.only in (None, "gateway"):
        part = Told("gateway", given)
        of_gateway(given.seed, given.cases, part)
        part(complete=True)
    if given.only in (None, "herd"):
        part = Told("herd", given)
        of_herd(given.seed, part)
        part(complete=True)
    parts = written()
    show(parts)
    return 0 if held(parts) else 1


def again(names: list[str]) -> int:
    """Runs some of the herd's timed attacks and puts their rows into the results; returns 1 where one was not held."""
    if "attacks" not in written().get("herd", {}):
        print(
            f"{RESULTS} has no attacks on a herd whose rows could be replaced: run `python -m tests.hostile --only herd`.", file=sys.stderr
        )
        return 1
    rows = Again(RESULTS)
    with herd_under(dict.fromkeys(names), rows):
        pass
    Console(width=200).print(table("herd", {"attacks": rows.rows}))
    return 0 if all(row["held"] for row in rows.rows) else 1


def show(parts: Mapping[str, Any]) -> None:
    """Prints all parts."""
    console = Console(width=200)
    for where, part in parts.items():
        console.print(table(where, part))
        for name in ("bytes", "fields"):
            if name in part:
                console.print(f"{where}, {name}: {part[name]}")
        for name, wrong in part.get("cases", {}).get("failed", {}).items():
            console.print(f"[red]{name}[/red]: {'; '.join(wrong)[:300]}", markup=True)


if __name__ == "__main__":
    sys.exit(main())
