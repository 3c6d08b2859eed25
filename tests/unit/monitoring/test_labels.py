"""`monitoring.labels`: each list of values is the one of whoever decides it."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import deployments.policy.errors
from configs.scaling import Slo
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.fleet.canary import Verdict
from deployments.policy.fleet.events import Kind
from deployments.policy.records.starts import CALLED
from deployments.policy.request.calls import ENDPOINTS, GENERATING
from deployments.policy.routing.types import Reason
from deployments.wire.client.unreadable import _CODES as UNREADABLE
from monitoring import labels
from monitoring.labels import Label

ROOT = Path(deployments.policy.errors.__file__).parents[3]


def test_words_of_other_folders_are_theirs() -> None:
    assert tuple(Reason) == labels.REASONS
    assert tuple(Verdict) == labels.VERDICTS
    assert tuple(Kind) == labels.EVENTS
    assert (labels.PLACING, *CALLED) == labels.PHASES
    assert tuple(ENDPOINTS.values()) == labels.ENDPOINTS
    assert {*GENERATING, "embeddings"} == labels.WORKING


def codes_of_classes(of: type[HerdError] = HerdError) -> Iterator[str]:
    """The codes that errors have by their class."""
    if of.code is not None:
        yield of.code
    for one in of.__subclasses__():
        yield from codes_of_classes(one)


def codes_given() -> Iterator[str]:
    """The codes that are given where an error is made."""
    for path in (ROOT / "deployments").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "code" and isinstance(node.value, ast.Constant):
                yield str(node.value.value)


def test_every_code_of_an_error_has_its_place() -> None:
    importlib.import_module("deployments.policy.errors.client_errors")
    known = {*codes_of_classes(), *codes_given(), *UNREADABLE.values(), labels.NO_CODE, labels.OTHER}
    assert known == set(labels.CODES)
    assert len(labels.CODES) == len(set(labels.CODES))


def test_objectives_that_have_seconds_are_fields_of_the_config() -> None:
    assert {f"{one}_s" for one in labels.LATENCY.values} <= Slo.model_fields.keys()


def test_every_list_has_each_value_once() -> None:
    for one in vars(labels).values():
        if isinstance(one, Label):
            assert len(set(one.values)) == len(one.values), one.name
