"""From the words of `herd simulate` to its answer: reads the config and the requests, runs the simulations, tells and writes."""

import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.scaling.config_problems import problems
from configs.load import loaded
from configs.scaling import Slo
from deployments.commands.plan_answers import cluster
from deployments.commands.plan_tables import sentence, table
from deployments.commands.simulating.answer import Question, about, answers, as_data, columns, notes, page
from deployments.commands.simulating.requests import CannotRead, from_file, made_up
from deployments.commands.simulating.rules import Compared, UnknownRule, compared
from deployments.commands.simulating.study import Run, runs
from deployments.commands.simulating.subject import Asked, CannotSimulate, Subject, served, subject, unmeetable
from deployments.commands.simulating.words import PricedGpu, Range
from deployments.commands.terminal import out, progress
from deployments.lifecycle.fit import CannotPlan
from deployments.simulation.loads.generated import Lengths
from deployments.simulation.loads.traces import Traced
from deployments.simulation.report.page import html

ERRORS = (CannotPlan, CannotRead, CannotSimulate, UnknownRule, OSError)
STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True, slots=True)
class Words:
    """A command line."""

    files: Sequence[Path]
    sets: Sequence[str]
    model: str | None
    load: Path | str
    """A trace's file, or the text of a made-up load."""
    first_s: float | None
    tokens: tuple[int, int]
    """Of a prompt and of an answer of a made-up load, on average."""
    slo: Slo | None
    replicas: Range | None
    gpus: Sequence[PricedGpu]
    price: float | None
    compare: Sequence[str]
    seed: int
    page: Path | None
    data: Path | None


def answer_to(words: Words) -> None:
    """Simulates what a command line asks for, tells the answer, and writes it where it is wanted.

    Raises:
        ConfigError: the config cannot be used.
        CannotPlan: a shape cannot be chosen, or a GPU is not known.
        CannotRead: the requests cannot be had.
        CannotSimulate: the model cannot be simulated.
        UnknownRule: a rule is not known.
        OSError: a file cannot be read or written.
    """
    found = _subjects(words)
    rules = _rules(words.compare, found[0])
    requests, until_s = _requests(words)
    kept = served(requests, min(one.context_tokens for one in found))
    if not kept:
        raise CannotRead(f"no request of the load fits into the model's {found[0].context_tokens:,} tokens: raise context_tokens")
    named = words.load.name if isinstance(words.load, Path) else words.load
    question = Question(named, words.seed, kept, until_s, len(requests) - len(kept))
    with progress.status("simulating …") as status:
        made = [
            run for one in found for run in runs(one, kept, until_s, rules, words.seed, lambda step: status.update(f"simulating {step} …"))
        ]
    _write(words, question, made, list(dict.fromkeys(problem for one in found if (problem := unmeetable(one, kept)))))


def _subjects(words: Words) -> list[Subject]:
    herd = loaded(words.files, words.sets, problems).config
    bounds = None if words.replicas is None else (words.replicas.least, words.replicas.most)
    asked = Asked(words.model, words.slo, bounds, None, words.price)
    several = [
        replace(asked, hardware=cluster(one.name, None, None, None), gpu_hour_price=words.price if one.price is None else one.price)
        for one in words.gpus
    ]
    return [subject(herd, one) for one in several or [asked]]


def _rules(names: Sequence[str], one: Subject) -> list[Compared]:
    return compared(names, one.slo, (one.setup.least, one.setup.most), one.model.scale.target_ongoing_requests)


def _requests(words: Words) -> tuple[list[Traced], float]:
    if isinstance(words.load, Path):
        return from_file(words.load, words.first_s)
    return made_up(words.load, Lengths(*words.tokens), words.seed, words.first_s)


def _write(words: Words, question: Question, made: Sequence[Run], wrong: Sequence[str]) -> None:
    if words.data is not None:
        text = json.dumps(as_data(question, made, wrong)) + "\n"
        if words.data == STANDARD_OUTPUT:
            sys.stdout.write(text)
        else:
            words.data.write_text(text, encoding="utf-8")
    if words.page is not None:
        words.page.write_text(html(page(question, made, wrong)), encoding="utf-8")
    if words.data != STANDARD_OUTPUT:
        _show(question, made, wrong, [one for one in (words.page, words.data) if one is not None])


def _show(question: Question, made: Sequence[Run], wrong: Sequence[str], written: Sequence[Path]) -> None:
    width = shutil.get_terminal_size((80, 24)).columns

    def told(texts: Sequence[str], style: str | None = None) -> None:
        for text in texts:
            out.print(sentence(text, width), style=style, markup=False, emoji=False, soft_wrap=True)

    told(about(question, made))
    told(list(answers(made, wrong)), "bold")
    lines = table(columns(made), [run.figures for run in made], width).lines
    out.print("\n".join(("", *lines, "")), markup=False, emoji=False, soft_wrap=True)
    told([*notes(made), *(f"Written: {path}" for path in written)], "dim")
