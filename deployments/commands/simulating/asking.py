"""From the words of `herd simulate` to its answer: reads the config and the requests, runs the simulations, tells and writes."""

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.scaling.config_problems import problems
from configs import given_files
from configs.load import loaded
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

STANDARD_OUTPUT = Path("-")


class CannotWrite(ValueError):
    """A file for the answer cannot be written; the message names it."""


ERRORS = (CannotPlan, CannotRead, CannotSimulate, CannotWrite, UnknownRule)


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
    slo: Mapping[str, float]
    """Objectives that are not the model's own."""
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
        CannotWrite: the answer has no place.
        UnknownRule: a rule is not known.
    """
    _writable("--out", words.page)
    _writable("--json", None if words.data == STANDARD_OUTPUT else words.data)
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


def _writable(option: str, path: Path | None) -> None:
    """Refuses a file that cannot be written before anything is simulated, which may take minutes.

    Raises:
        CannotWrite: it cannot.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir():
        why = "it is a folder: name a file in it"
    elif not folder.is_dir():
        why = f"the folder {folder} is not there: make it first"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        why = "it may not be written by you: name another place"
    else:
        return
    raise CannotWrite(f"{option} {path} cannot be written: {why}")


def _written(option: str, path: Path, text: str) -> None:
    try:
        given_files.write(path, text)
    except given_files.CannotWrite as error:
        raise CannotWrite(f"{option} {path} cannot be written: {error}") from error


def _subjects(words: Words) -> list[Subject]:
    herd = loaded(words.files, words.sets, problems).config
    bounds = None if words.replicas is None else (words.replicas.least, words.replicas.most)
    names = [one.name for one in words.gpus]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CannotSimulate(f"--gpu {twice[0]} is there twice: name each GPU once")
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
            _written("--json", words.data, text)
    if words.page is not None:
        _written("--out", words.page, html(page(question, made, wrong)))
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
