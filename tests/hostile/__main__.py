"""The whole hostile suite, with figures: `make hostile`.

    python -m tests.hostile [--cases N] [--seed N] [--only gateway|herd]

A gateway with fake engines gets most of the cases, a real herd all that are written down and some that are generated. While an attack runs,
honest clients of the attacked model and of another one are timed. Each part is written down as soon as it is done; with `--only`, what the
file says of the other part stays as it was.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from tests.bench.process import free_port
from tests.bench.report import about, save
from tests.e2e.conftest import up
from tests.hostile import fuzz_bytes, fuzz_fields
from tests.hostile.alone import gateway
from tests.hostile.attacker import attack
from tests.hostile.attacks import ATTACKS
from tests.hostile.case import SMOLLM
from tests.hostile.cases import ALL
from tests.hostile.real import GROWTH_MIB, MODELS, Real, config_under_attack
from tests.hostile.witness import Seen, witness

RESULTS = Path(__file__).parents[1] / "bench" / "results" / "hostile.json"
#: Another client's time to its first token may be so many times what it is undisturbed.
MOST_TIMES = 2.0
UNDISTURBED_S, ATTACK_S, AT_ONCE = 30.0, 10.0, 2
#: Seconds to an answer at most, while both fuzzers run.
WITHIN_S = 30.0
#: Of the fuzzed cases, how many go to the real herd; and how many schemathesis makes, which takes 30 ms each.
TO_THE_HERD, GENERATED = 3_000, 1_500

#: Attacks on the real herd under which others are timed: cases that are repeated, and such over raw sockets.
TIMED = (
    "messages-lists-36000-chat", "input-objects-9000-responses", "content-empty-9000", "input-long-wrong", "input_image-no-detail",
    "unknown-lists-63-mib", "unknown-objects-8-mib", "known-lists-8-mib", "deep-lists-messages", "encoding-gzip-bomb-1-gib",
    "tokenize-words", "long-chat", "detokenize-long", "image-13300x13300", "image-frames-gif", "image-bomb-chat", "images-five-large",
    "mm_processor_kwargs-1-chat", "n-1-chat", "n-2-completions", "beams-1000", "prompts-1024", "logit_bias-0-chat", "health-generate",
    "prompt-token-0-smollm2-135m-instruct", "schema-many-words-smollm2-135m-instruct", "schema-tuple-smollm2-135m-instruct",
    "grammar-against-tokens-stream", "head_of_many_fields", "head_of_one_field", "heads_behind_a_request", "trailers_without_end",
    "chunk_extension_without_end", "chunks_of_one_byte", "slow_heads", "slow_bodies", "many_connections", "pipelined_flood",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attacked:
    """One attack, and what others saw meanwhile."""

    name: str
    sent: int
    statuses: Mapping[str, int]
    slowest_s: float
    first_p50_ms: Mapping[str, float]
    first_p99_ms: Mapping[str, float]
    times_undisturbed: float
    """The p99 over the undisturbed one, of the model that has it worse."""
    stall_ms: float
    rss_mib: tuple[float, float]
    engines_lost: int
    wrong: list[str]

    @property
    def held(self) -> bool:
        """All bars."""
        grown = self.rss_mib[1] - self.rss_mib[0]
        return not self.wrong and not self.engines_lost and grown <= GROWTH_MIB and self.times_undisturbed <= MOST_TIMES


def _first(seen: Seen, percent: int, models: tuple[str, ...]) -> dict[str, float]:
    return {model: round(seen.percentile(model, percent), 1) for model in models}


def undisturbed(port: int, models: tuple[str, ...], for_s: float) -> Seen:
    """What witnesses see when nobody attacks."""
    with witness(port, models) as seen:
        time.sleep(for_s)
    return seen


def attacked(port: int, name: str, calm: Seen, rss: Any, lost: Any, models: tuple[str, ...]) -> Attacked:
    """Runs one attack between witnesses."""
    before, lost_before = rss(), lost()
    with witness(port, models) as seen:
        outcome = attack(port, name, ATTACK_S, AT_ONCE)
    time.sleep(2)
    times = max(seen.percentile(model, 99) / calm.percentile(model, 99) for model in models)
    wrong = [*outcome.wrong, *(f"witness: {one}" for one in seen.failed[:5])]
    return Attacked(
        name, outcome.sent, outcome.statuses, outcome.slowest_s, _first(seen, 50, models), _first(seen, 99, models),
        round(times, 2), round(seen.longest_stall_ms, 1), (round(before, 1), round(rss(), 1)), lost() - lost_before, wrong,
    )  # fmt: skip


def calm_figures(calm: Seen, models: tuple[str, ...]) -> dict[str, Any]:
    """Undisturbed, as it is written down."""
    return {
        "first_p50_ms": _first(calm, 50, models),
        "first_p99_ms": _first(calm, 99, models),
        "health_p50_ms": round(statistics.median(calm.health_ms), 2),
        "stall_ms": round(calm.longest_stall_ms, 1),
    }


def of_gateway(seed: int, cases: int) -> dict[str, Any]:
    """A gateway with fake engines: attacks over raw sockets, and most of the fuzzed cases."""
    models = (SMOLLM,)
    with gateway(header_s=10, body_read_s=30, total_s=300, first_byte_s=300) as one:
        calm = undisturbed(one.port, models, 10)
        attacks = [attacked(one.port, name, calm, lambda: one.rss_mib, lambda: 0, models) for name in ATTACKS]
    with gateway(header_s=1, body_read_s=1) as one:
        before = one.rss_mib
        bytes_found = asyncio.run(fuzz_bytes.run(one.port, seed, int(cases * 0.45), WITHIN_S))
        bytes_rss = (round(before, 1), round(one.rss_mib, 1))
    with gateway() as one:
        before = one.rss_mib
        fields = fuzz_fields.Found()
        fuzz_fields.run(fuzz_fields.Sender(one.port, WITHIN_S, fields), seed, max(0, cases - bytes_found.cases - TO_THE_HERD), GENERATED)
        fields_rss = (round(before, 1), round(one.rss_mib, 1))
    return {
        "undisturbed": calm_figures(calm, models),
        "attacks": [asdict(attack) | {"held": attack.held} for attack in attacks],
        "bytes": _fuzzed(bytes_found, {str(status): count for status, count in bytes_found.statuses.items()}, bytes_rss),
        "fields": _fuzzed(fields, fields.statuses, fields_rss),
    }


def _fuzzed(found: fuzz_bytes.Found | fuzz_fields.Found, statuses: Mapping[str, int], rss: tuple[float, float]) -> dict[str, Any]:
    return {
        "cases": found.cases,
        "statuses": dict(sorted(statuses.items())),
        "slowest_s": round(found.slowest_s, 2),
        "rss_mib": rss,
        "wrong": len(found.wrong),
        "first_wrong": [one[:300] for one in found.wrong[:20]],
    }


def of_herd(seed: int) -> dict[str, Any]:
    """A real herd: every case, the timed attacks, and generated requests."""
    with tempfile.TemporaryDirectory() as folder, up(Path(folder), config_under_attack(free_port())) as herd:
        real = Real.of(herd)
        calm = undisturbed(real.port, MODELS, UNDISTURBED_S)
        attacks = [attacked(real.port, name, calm, lambda: real.rss_mib, lambda: real.lost, MODELS) for name in TIMED]
        failed = {case.name: wrong for case in ALL if (wrong := real.tried(case))}
        before, fields = real.rss_mib, fuzz_fields.Found()
        sender = fuzz_fields.Sender(real.port, 120, fields)
        fuzz_fields.run(sender, seed, TO_THE_HERD, GENERATED // 3, lambda: real.lost > 0 and fields.cases % 100 == 0)
        return {
            "undisturbed": calm_figures(calm, MODELS),
            "attacks": [asdict(attack) | {"held": attack.held} for attack in attacks],
            "cases": {"tried": len(ALL), "by_finding": _by_finding(failed), "failed": {name: wrong[:3] for name, wrong in failed.items()}},
            "fields": _fuzzed(fields, fields.statuses, (round(before, 1), round(real.rss_mib, 1))),
            "engines_lost": real.lost,
        }


def _by_finding(failed: Mapping[str, object]) -> dict[str, str]:
    tried = Counter(case.of for case in ALL)
    right = Counter(case.of for case in ALL if case.name not in failed)
    return {of: f"{right[of]} of {count}" for of, count in sorted(tried.items())}


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
    return attacks and not any(one["wrong"] for one in fuzzed) and not any(part.get("cases", {}).get("failed") for part in parts.values())


def _written() -> dict[str, Any]:
    """Returns the parts that the results file has."""
    if not RESULTS.exists():
        return {}
    file = json.loads(RESULTS.read_text(encoding="utf-8"))
    return {where: file[where] for where in ("gateway", "herd") if where in file}


def main() -> int:
    """Runs it; 1 where anything was wrong."""
    words = argparse.ArgumentParser(prog="python -m tests.hostile", description="The whole hostile suite.")
    words.add_argument("--cases", type=int, default=100_000, help="fuzzed cases in all")
    words.add_argument("--seed", type=int, default=20261128)
    words.add_argument("--only", choices=("gateway", "herd"))
    given = words.parse_args()
    console, parts = Console(width=200), _written() if given.only else {}
    settings = {"seed": given.seed, "cases": given.cases, "attack_s": ATTACK_S, "at_once": AT_ONCE}
    measured: dict[str, Callable[[], dict[str, Any]]] = {
        "gateway": lambda: of_gateway(given.seed, given.cases),
        "herd": lambda: of_herd(given.seed),
    }
    for where, measure in measured.items():
        if given.only in (None, where):
            parts[where] = measure() | {"settings": settings, "date": about("tests.hostile")["date"]}
            save(RESULTS, about("tests.hostile") | parts)
    for where, part in parts.items():
        console.print(table(where, part))
        for name in ("bytes", "fields"):
            if name in part:
                console.print(f"{where}, {name}: {part[name]}")
        for name, wrong in part.get("cases", {}).get("failed", {}).items():
            console.print(f"[red]{name}[/red]: {'; '.join(wrong)[:300]}", markup=True)
    return 0 if held(parts) else 1


if __name__ == "__main__":
    sys.exit(main())
