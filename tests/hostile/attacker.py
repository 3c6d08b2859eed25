"""One attack in a process of its own, which takes nothing from the witnesses but what the server gives it. Says how it went in JSON.

python -m tests.hostile.attacker PORT NAME SECONDS AT_ONCE
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tests.hostile.attacks import ATTACKS, Target
from tests.hostile.case import Case
from tests.hostile.cases import ALL
from tests.hostile.sending import complaints, send

#: Beyond its own time, for the answers that are under way.
SLACK_S = 180.0


@dataclass(slots=True)
class Outcome:
    """What an attacker got."""

    sent: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    largest_bytes: int = 0
    wrong: list[str] = field(default_factory=list)


def attack(port: int, name: str, for_s: float, at_once: int) -> Outcome:
    """Runs an attack by its name: a case over and over, or one over raw sockets once."""
    command = [sys.executable, "-m", "tests.hostile.attacker", str(port), name, str(for_s), str(at_once)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=for_s + SLACK_S, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(wrong=[f"did not end within {for_s + SLACK_S:g} s"])
    if ran.returncode:
        return Outcome(wrong=[(ran.stderr.strip().splitlines() or ["ended without a word"])[-1]])
    told: dict[str, Any] = json.loads(ran.stdout)
    return Outcome(**told)


def _run(port: int, name: str, for_s: float, at_once: int) -> Outcome:
    if name in ATTACKS:
        wrong = asyncio.run(ATTACKS[name](Target(port)))
        return Outcome(sent=1, wrong=wrong[:20])
    case = next(one for one in ALL if one.name == name)
    body = case.body() if case.body is not None else None
    ready = case if body is None else replace(case, body=lambda: body, within_s=120.0)
    outcome, ends = Outcome(), time.perf_counter() + for_s
    statuses: Counter[str] = Counter()
    threads = [threading.Thread(target=_repeat, args=(port, ready, ends, outcome, statuses)) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome.statuses = dict(statuses)
    outcome.wrong = sorted(set(outcome.wrong))[:20]
    return outcome


def _repeat(port: int, case: Case, ends: float, outcome: Outcome, statuses: "Counter[str]") -> None:
    while time.perf_counter() < ends:
        answer = send(port, case)
        outcome.sent += 1
        statuses[str(answer.status)] += 1
        outcome.slowest_s = max(outcome.slowest_s, round(answer.took_s, 3))
        outcome.largest_bytes = max(outcome.largest_bytes, len(answer.body))
        # At once with itself, a case may also meet a bound on how much there may be at a time.
        outcome.wrong += [] if answer.status in (429, 503) else list(complaints(case, answer))


if __name__ == "__main__":
    os.nice(10)  # it would stand on another machine
    print(json.dumps(asdict(_run(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))))
