"""What a run of `tests.bench.gpu_check.engine` prints, as figures: vLLM's own log, and the run's lines between it.

Decides how vLLM's words are read (0.29; `tests/alone/test_gpu_check.py` holds them). A line that nobody knows is passed over.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: Before the run's own lines, which are JSON.
MARK = "GPU-CHECK "
#: vLLM's words around a number, by what the number is called here (`v1/worker`, `v1/engine/core.py`, `compilation/monitor.py`).
WORDS: Mapping[str, str] = {
    "weights_gib": r"Model loading took ([\d.]+) GiB",
    "load_s": r"Model loading took [\d.]+ GiB memory and ([\d.]+) seconds",
    "left_for_kv_gib": r"Available KV cache memory: (-?[\d.]+) GiB",
    "kv_tokens": r"KV cache size: ([\d,]+) tokens",
    "compile_s": r"torch\.compile took ([\d.]+) s in total",
    "graphs_s": r"Graph capturing finished in ([\d.]+) secs",
    "graphs_gib": r"Graph capturing finished in [\d.]+ secs, took (-?[\d.]+) GiB",
    "init_s": r"init engine \(profile, create kv cache, warmup model\) took ([\d.]+) s",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What one engine said while it was started and measured."""

    log: Mapping[str, float] = field(default_factory=dict)
    """vLLM's own figures, by the names of `WORDS`."""
    started: Mapping[str, Any] | None = None
    """What its workers tell, as a replica of a herd hears it; None where it did not start."""
    start_s: float | None = None
    levels: tuple[Mapping[str, Any], ...] = ()
    """A measurement for each number of users."""
    last_words: tuple[str, ...] = ()
    """The end of what it said, where it did not end well."""


def read(lines: Iterable[str], ended_well: bool, keep: int = 20) -> Run:
    """Reads what a run printed.

    Args:
        lines: of its output.
        ended_well: it was not stopped, and did not fail.
        keep: how many of its last lines are kept where it did not end well.
    """
    log: dict[str, float] = {}
    own: list[dict[str, Any]] = []
    every = [line.rstrip("\n") for line in lines]
    for line in every:
        if line.startswith(MARK):
            own.append(json.loads(line.removeprefix(MARK)))
        for name, words in WORDS.items():
            if found := re.search(words, line):
                log[name] = float(found[1].replace(",", ""))
    by_kind = {one["what"]: one for one in own}
    return Run(
        log,
        by_kind["started"]["engine"] if "started" in by_kind else None,
        by_kind["started"]["seconds"] if "started" in by_kind else None,
        tuple(one for one in own if one["what"] == "level"),
        () if ended_well else tuple(every[-keep:]),
    )
