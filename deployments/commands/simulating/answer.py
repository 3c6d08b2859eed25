"""The answer of a simulation: sentences and a table for a terminal, the same with plots as a page, and all of it as JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cluster.planner.choice.numbers import rough
from deployments.commands.plan_tables import Column, brief_shape
from deployments.commands.simulating.study import HERD, Run
from deployments.simulation.loads.traces import Traced
from deployments.simulation.report.page import Page, Part
from deployments.simulation.report.series import series
from deployments.simulation.report.svg import DAY_S, clock

MINUTE_S = 60.0


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:,.0f} s"


def _hours(value: float) -> str:
    """Returns GPU-hours, of which short loads have few."""
    return f"{value:,.1f}" if value >= 1 else rough(value)


_GPU = Column("GPU", ("gpu",), str, 98, left=True)
_COLUMNS = (
    Column("rule", ("rule",), str, 100, left=True),
    Column("replicas", ("replicas",), "{:.1f}".format, 95),
    Column("most", ("most_replicas",), str, 85),
    Column("in SLO", ("attainment",), lambda share: f"{_percent(share)}", 97),
    Column("out of SLO", ("out_of_slo_s",), lambda seconds: f"{seconds:,.0f} s", 40),
    Column("TTFT p50", ("ttft_p50_s",), _seconds, 30),
    Column("p99", ("ttft_p99_s",), _seconds, 75),
    Column("ITL p90", ("itl_p90_s",), lambda seconds: f"{seconds * 1000:.0f} ms", 70),
    Column("GPU-h", ("gpu_hours",), _hours, 92),
    Column("moves", ("scale_events",), str, 60),
    Column("refused", ("refused",), "{:,}".format, 50),
)
_MONEY = Column("price", ("money",), "{:,.2f}".format, 93)


def columns(runs: Sequence[Run]) -> tuple[Column, ...]:
    """Returns the columns that simulations have: GPUs where there are several kinds, prices where all are known."""
    several = (_GPU,) if len({run.subject.engine.gpu.name for run in runs}) > 1 else ()
    priced = (_MONEY,) if all(run.money is not None for run in runs) else ()
    return (*several, *_COLUMNS, *priced)


@dataclass(frozen=True, slots=True)
class Question:
    """A simulation's subject, in words and numbers."""

    load: str
    """The file or the text that the requests are from."""
    seed: int
    requests: Sequence[Traced]
    until_s: float
    left_out: int = 0
    """Requests that are longer than the context."""


def about(question: Question, runs: Sequence[Run]) -> list[str]:
    """Returns the sentences on the load and the model."""
    one = runs[0].subject
    mean = len(question.requests) / question.until_s
    # A load of less than two minutes has no busiest one to speak of.
    peak = _busiest(question) if question.until_s >= 2 * MINUTE_S else ""
    shape = brief_shape(one.engine.parallel.model_dump())
    found = [
        f"{one.model.id} in {one.engine.layout.quantization.upper()}, {one.on} ({shape}) each, under {question.load}:"
        f" {_counted(len(question.requests), 'request')} in {_long(question.until_s)}, {rough(mean)} a second on average{peak}."
    ]
    if question.left_out:
        found.append(
            f"{question.left_out:,} more are left out: they are longer than its {one.context_tokens:,} tokens of context or KV cache."
        )
    return found


def _busiest(question: Question) -> str:
    most, begin_s, first = 0, 0.0, 0
    for number, one in enumerate(question.requests):
        while question.requests[first].at_s <= one.at_s - MINUTE_S:
            first += 1
        if number - first >= most:
            most, begin_s = number - first + 1, question.requests[first].at_s
    return f" and {rough(most / MINUTE_S)} in the busiest minute ({clock(int(begin_s), question.until_s)})"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def _long(seconds: float) -> str:
    if seconds >= 2 * DAY_S:
        return f"{seconds / DAY_S:.1f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    if seconds >= 2 * MINUTE_S:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{rough(seconds)} s"


def answers(runs: Sequence[Run], problems: Sequence[str]) -> Iterator[str]:
    """Yields the answers: how many replicas, on which GPUs, at what price."""
    yield from (f"{problem[:1].upper()}{problem[1:]}." for problem in problems)
    for subject in dict.fromkeys(run.subject.on for run in runs):
        mine = [run for run in runs if run.subject.on == subject]
        fixed = next((run for run in mine if run.is_fewest), None)
        yield _of_fixed(mine[0], fixed)
        yield from (_of_herd(run, fixed) for run in mine if run.rule == HERD)
    if len({run.subject.on for run in runs}) == 1 or all(run.money is None for run in runs):
        return
    good = [run for run in runs if run.keeps]
    if any(run.money is None for run in runs):
        yield "Which of them is the cheapest is not known: give each GPU its price, as in --gpu H100=2.5."
    elif good:
        best = min(good, key=lambda run: run.money or 0.0)
        yield f"The cheapest that keeps the objectives: {best.rule} on {best.subject.on}, {_cost(best)}."


def _of_fixed(any_run: Run, fixed: Run | None) -> str:
    slo = any_run.subject.slo
    objectives = (
        f"{slo.quantile * 100:g} % of the requests within {slo.ttft_s:g} s to the first token and {slo.itl_s * 1000:g} ms between tokens"
    )
    if fixed is None:
        return f"No fixed number of replicas on {any_run.subject.on} keeps {objectives}."
    count = fixed.fixed or 0
    gpus = count * fixed.outcome.gpus_per_replica
    one = any_run.subject.engine.gpu.name
    return f"{count} fixed {'replica keeps' if count == 1 else 'replicas keep'} {objectives}: {gpus} {one}, {_cost(fixed)}."


def _of_herd(run: Run, fixed: Run | None) -> str:
    setup, outcome = run.subject.setup, run.outcome
    found = (
        f"The herd's own rule, {setup.least} to {setup.most} replicas, kept {_percent(outcome.attainment(run.subject.slo))} within both,"
        f" with {outcome.replicas:.1f} on average and {outcome.most} at most: {_cost(run)}"
    )
    if not run.keeps and fixed is not None and (fixed.fixed or 0) <= setup.most:
        return (
            f"{found}. That is less than the objectives ask for: replicas came too late, for a start takes about"
            f" {run.subject.model.scale.start_s:g} s. Raise scaling.min_replicas, or name the hours in scaling.schedules."
        )
    if not run.keeps and outcome.most >= setup.most:
        return f"{found}. It ran into the most that it may have: raise scaling.max_replicas or --replicas."
    if fixed is None or not fixed.outcome.gpu_s:
        return f"{found}."
    change = 1 - outcome.gpu_s / fixed.outcome.gpu_s
    return f"{found}, {abs(change) * 100:.0f} % {'less' if change >= 0 else 'more'} than with that fixed number."


def _cost(run: Run) -> str:
    hours = f"{_hours(run.outcome.gpu_hours)} GPU-hours"
    return hours if run.money is None else f"{hours}, {run.money:,.2f}"


def notes(runs: Sequence[Run]) -> list[str]:
    """Returns the meaning of the words, and what the simulation assumes."""
    scale = runs[0].subject.model.scale
    from_zero = ["Starts from zero are not simulated: min_replicas 0 counts as 1."] if not scale.min_replicas else []
    return [
        *from_zero,
        "In SLO: requests within both objectives; refused ones are not. Out of SLO: time in which too few were. Replicas and GPU-hours"
        " count starting and draining ones. Moves: changes of the number.",
        f"Engines are the planner's arithmetic, ±20 %; a start takes about {scale.start_s:g} s (scaling.start_s). Routing, admission and"
        " the herd's rule are production's own code. All rules begin with the replicas that the first five minutes need.",
    ]


def page(question: Question, runs: Sequence[Run], problems: Sequence[str]) -> Page:
    """Returns the content of the page."""
    shown = columns(runs)
    rows = [run.figures for run in runs]
    parts = [
        Part(f"{run.rule} on {run.subject.on}", series(run.outcome, run.subject.slo), run.outcome.decided, run.subject.gpu_hour_price)
        for run in runs
    ]
    return Page(
        title=f"{runs[0].subject.model.id} under {question.load}",
        sentences=(*answers(runs, problems), *about(question, runs)),
        columns=[one.heading for one in shown],
        rows=[[one.cell(row) for one in shown] for row in rows],
        notes=(*notes(runs), f"Seed {question.seed}: the same command gives the same page."),
        slo=runs[0].subject.slo,
        parts=parts,
    )


def as_data(question: Question, runs: Sequence[Run], problems: Sequence[str]) -> dict[str, Any]:
    """Returns all of it as JSON has it."""
    first = runs[0].subject
    return {
        "model": first.model.id,
        "load": question.load,
        "seed": question.seed,
        "seconds": question.until_s,
        "requests": len(question.requests),
        "left_out": question.left_out,
        "slo": asdict(first.slo),
        "answers": list(answers(runs, problems)),
        "runs": [
            run.figures
            | {
                "series": asdict(series(run.outcome, run.subject.slo)),
                "decisions": [one._asdict() for one in run.outcome.decided],
            }
            for run in runs
        ],
    }
