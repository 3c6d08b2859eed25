"""The two parts of the hostile suite: a gateway with fake engines, and a real herd. Each tells its figures as soon as it has them."""

import asyncio
import contextlib
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.bench.process import free_port
from tests.e2e.conftest import up
from tests.hostile import fuzz_bytes, fuzz_fields
from tests.hostile.alone import gateway
from tests.hostile.attacker import attack
from tests.hostile.attacks import ATTACKS
from tests.hostile.case import BUSY, SMOLLM, Case
from tests.hostile.cases import ALL
from tests.hostile.real import GROWTH_MIB, MODELS, Real, config_under_attack
from tests.hostile.sending import complaints, send
from tests.hostile.witness import Seen, witness

#: Another client's time to its first token may be so many times what it is undisturbed.
MOST_TIMES = 2.0
UNDISTURBED_S, ATTACK_S, AT_ONCE = 30.0, 10.0, 2
#: Cases between two looks at the herd.
TOGETHER = 16
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


class Tell(Protocol):
    """Takes figures as soon as they are there; a figure that is told again takes the place of the one before."""

    def __call__(self, **figures: Any) -> None:
        """Takes them."""


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


def of_gateway(seed: int, cases: int, tell: Tell) -> None:
    """Attacks a gateway with fake engines over raw sockets, and sends it most of the fuzzed cases."""
    models = (SMOLLM,)
    with gateway(header_s=10, body_read_s=30, total_s=300, first_byte_s=300) as one:
        calm = undisturbed(one.port, models, 10)
        tell(undisturbed=calm_figures(calm, models))
        _attacks(ATTACKS, lambda name: attacked(one.port, name, calm, lambda: one.rss_mib, lambda: 0, models), tell)
    with gateway(header_s=1, body_read_s=1) as one:
        before = one.rss_mib
        bytes_found = asyncio.run(fuzz_bytes.run(one.port, seed, int(cases * 0.45), WITHIN_S))
        statuses = {str(status): count for status, count in bytes_found.statuses.items()}
        tell(bytes=_fuzzed(bytes_found, statuses, (round(before, 1), round(one.rss_mib, 1))))
    with gateway() as one:
        before, fields = one.rss_mib, fuzz_fields.Found()
        fuzz_fields.run(fuzz_fields.Sender(one.port, WITHIN_S, fields), seed, max(0, cases - bytes_found.cases - TO_THE_HERD), GENERATED)
        tell(fields=_fuzzed(fields, fields.statuses, (round(before, 1), round(one.rss_mib, 1))))


def _attacks(names: Iterable[str], run: Callable[[str], Attacked], tell: Tell) -> None:
    done: list[dict[str, Any]] = []
    for name in names:
        one = run(name)
        done.append(asdict(one) | {"held": one.held})
        tell(attacks=list(done))


def _fuzzed(found: fuzz_bytes.Found | fuzz_fields.Found, statuses: Mapping[str, int], rss: tuple[float, float]) -> dict[str, Any]:
    return {
        "cases": found.cases,
        "statuses": dict(sorted(statuses.items())),
        "slowest_s": round(found.slowest_s, 2),
        "rss_mib": rss,
        "wrong": len(found.wrong),
        "first_wrong": [one[:300] for one in found.wrong[:20]],
    }


@contextlib.contextmanager
def herd_under(names: Iterable[str], tell: Tell) -> Iterator[Real]:
    """Starts a real herd, times others while nobody attacks it and during each of these attacks, and gives it on."""
    with tempfile.TemporaryDirectory() as folder, up(Path(folder), config_under_attack(free_port())) as herd:
        real = Real.of(herd)
        calm = undisturbed(real.port, MODELS, UNDISTURBED_S)
        tell(undisturbed=calm_figures(calm, MODELS))
        _attacks(names, lambda name: attacked(real.port, name, calm, lambda: real.rss_mib, lambda: real.lost, MODELS), tell)
        yield real


def of_herd(seed: int, tell: Tell) -> None:
    """Attacks a real herd, sends it every case, and generated requests."""
    with herd_under(TIMED, tell) as real:
        failed: dict[str, list[str]] = {}
        for begin in range(0, len(ALL), TOGETHER):
            failed |= tried(real, ALL[begin : begin + TOGETHER])
            shown = {name: wrong[:3] for name, wrong in failed.items()}
            count = min(begin + TOGETHER, len(ALL))
            tell(cases={"tried": count, "by_finding": _by_finding(ALL[:count], failed), "failed": shown}, engines_lost=real.lost)
        before, fields = real.rss_mib, fuzz_fields.Found()
        sender = fuzz_fields.Sender(real.port, 120, fields)
        fuzz_fields.run(sender, seed, TO_THE_HERD, GENERATED // 3, lambda: fields.cases % 100 == 0 and real.lost > 0)
        tell(fields=_fuzzed(fields, fields.statuses, (round(before, 1), round(real.rss_mib, 1))), engines_lost=real.lost)


def tried(real: Real, cases: tuple[Case, ...]) -> dict[str, list[str]]:
    """Sends cases, a few at a time, and looks at the herd after them; returns what is wrong, by the case's name.

    Beside others a case may meet a bound on how much there may be at a time; then it is sent again, alone. Harm to the herd is
    looked at once for all of them, and laid to each.
    """
    before = real.rss_mib
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda case: send(real.port, case), cases))
    alone = [send(real.port, case) if answer.status in BUSY else answer for case, answer in zip(cases, answers, strict=True)]
    harm = list(real.harm(MODELS, before))
    found = {case.name: [*complaints(case, answer), *harm] for case, answer in zip(cases, alone, strict=True)}
    return {name: wrong for name, wrong in found.items() if wrong}


def _by_finding(cases: Iterable[Case], failed: Mapping[str, object]) -> dict[str, str]:
    tried_of, right = Counter[str](), Counter[str]()
    for case in cases:
        tried_of[case.of] += 1
        right[case.of] += case.name not in failed
    return {of: f"{right[of]} of {count}" for of, count in sorted(tried_of.items())}
