"""What was measured on a GPU beside the plan: as data, and as a table for people."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from cluster.catalogue.gpus import Gpu, gpu_named
from cluster.planner.capacity import capacity, concurrent_requests
from cluster.planner.memory.engine import version_of
from cluster.planner.speed import Load, speed
from cluster.planner.started.beside import Started, beside_plan
from cluster.planner.started.figures import Figures, Report, as_plain, difference, differences, of_plain, rows, summary
from tests.bench.gpu_check.said import Run
from tests.bench.gpu_check.subjects import Subject

#: The times that vLLM tells of its start, and what they are called.
TIMES = {"load_s": "weights made", "compile_s": "compiled", "graphs_s": "graphs captured", "init_s": "engine set up"}


def result(subject: Subject, run: Run, vllm: str) -> dict[str, Any]:
    """One engine's figures beside its plan, as JSON has them; why it did not start, where it did not."""
    if run.started is None:
        return {"name": subject.name, "config": subject.config, "log": dict(run.log), "last_words": list(run.last_words)}
    started = Started(**dict(run.started) | {"figures": Figures(**run.started["figures"])})
    report = beside_plan(subject.model, started, subject.stored, version_of(vllm))
    report = replace(report, told=replace(report.told, start_s=run.start_s))
    return {
        "name": subject.name,
        "config": subject.config,
        "engine": as_plain(report) | {"differences": list(differences(report))},
        "log": dict(run.log),
        "levels": [dict(one) | planned_speed(subject, gpu_named(started.device), one) for one in run.levels],
        "last_words": list(run.last_words),
    }


def planned_speed(subject: Subject, gpu: Gpu | None, level: Mapping[str, Any]) -> dict[str, float]:
    """What the planner says of one measurement; nothing for a device that it does not know."""
    if gpu is None:
        return {}
    engine = subject.engine(gpu)
    load = Load(level["users"], level["prompt_tokens"], level["answer_tokens"])
    most = concurrent_requests(engine, capacity(engine).pool_blocks, load.prompt_tokens + load.answer_tokens)
    planned = speed(engine, load, most)
    return {"planned_tokens_s": planned.replica_tokens_s, "planned_first_token_s": planned.ttft_s}


def page(machine: str, results: Iterable[Mapping[str, Any]]) -> str:
    """All results as a page in Markdown."""
    return "\n".join([f"# Engines on {machine}, beside the plan", *(line for one in results for line in _section(one))]) + "\n"


def _section(one: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n## {one['name']}\n"
    report = of_plain(one.get("engine"))
    if report is None:
        yield "It did not start. Its last words:\n"
        yield from ("    " + line for line in one["last_words"])
        return
    yield from _memory(report)
    yield from _speeds(one["levels"])
    times = [f"{called} in {one['log'][name]:.0f} s" for name, called in TIMES.items() if name in one["log"]]
    if times:
        yield f"\nThe start, by vLLM's log: {', '.join(times)}."
    if one["last_words"]:
        yield "\nIt did not end well: the log in the result has its last words."
    yield from (f"\n{sentence}" for sentence in summary(report))


def _memory(report: Report) -> Iterator[str]:
    yield f"| figure | engine on {report.device} | plan{f' for {report.gpu}' if report.gpu else ''} | difference |\n|---|---|---|---|"
    for row in rows(report):
        yield f"| {row.name} | {row.told} | {row.planned} | {_share(row.difference)} |"


def _speeds(levels: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield "\n| users | tokens/s | plan | difference | first token | plan |\n|---|---|---|---|---|---|"
    for one in levels:
        planned = one.get("planned_tokens_s")
        cells = (
            f"{one['users']}",
            f"{one['tokens_s']:,.0f}",
            "–" if planned is None else f"{planned:,.0f}",
            _share(difference(one["tokens_s"], planned)),
            f"{one['first_token_s']:.2f} s",
            "–" if planned is None else f"{one['planned_first_token_s']:.2f} s",
        )
        yield f"| {' | '.join(cells)} |"


def _share(by: float | None) -> str:
    return "–" if by is None else f"{by:+.0%}"
