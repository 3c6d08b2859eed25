"""`cluster.doctor.dcgm`: NVIDIA's own diagnosis, as facts and as findings."""

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.doctor.dcgm import diagnosis, is_sick
from cluster.doctor.facts import DiagnosedTest, Finding, Level
from cluster.doctor.gpu_checks import gpu_findings
from tests.unit.cluster.doctor.test_gpu_checks import node


def document(*tests: dict[str, Any], root: str = "DCGM Diagnostic") -> str:
    """As DCGM 4.2 prints it: its tree of categories, an entity for each GPU, a number for each warning's severity."""
    body = {"test_categories": [{"category": "Deployment", "tests": list(tests)}]}
    return json.dumps({root: body, "metadata": {"version": "4.2.3", "Driver Version Detected": "580.82.09"}})


def failed(name: str, *warnings: Any, gpus: int = 8) -> dict[str, Any]:
    results = [{"entity_group": "GPU", "entity_id": gpu, "status": "Fail", "warnings": list(warnings)} for gpu in range(gpus)]
    return {"name": name, "results": results, "test_summary": {"status": "Fail"}}


PASSED = {"name": "software", "results": [{"entity_group": "GPU", "entity_id": gpu, "status": "Pass"} for gpu in range(8)]}
SKIPPED = {"name": "memory", "results": [{"entity_group": "GPU", "entity_id": 0, "status": "Skip", "info": ["not supported"]}]}
#: As eight GPUs without persistence mode print it, under DCGM 4.
PERSISTENCE = {
    "warning": "Persistence Mode: Persistence mode for GPU 0 is disabled.",
    "error_id": 29,
    "error_category": 8,
    "error_severity": 5,
}
ISOLATE = {"warning": "Detected volatile DBEs", "error_id": 30, "error_severity": 2}


def found(printed: str) -> Finding:
    facts = replace(node(), diagnosis=diagnosis(printed))
    return next(one for one in gpu_findings(facts, None) if one.check == "dcgmi")


def test_diagnosis_that_passed() -> None:
    assert diagnosis(document(PASSED, SKIPPED)) == ()
    assert found(document(PASSED)).level is Level.OK


def test_setting_is_a_warning_and_no_sick_node() -> None:
    (test,) = diagnosis(document(failed("software", PERSISTENCE), PASSED)) or ()
    assert test == DiagnosedTest("software", "Persistence Mode: Persistence mode for GPU 0 is disabled.", 5)
    assert not is_sick(test)
    said = found(document(failed("software", PERSISTENCE)))
    assert (said.level, said.seen) == (Level.WARN, "software: Persistence Mode: Persistence mode for GPU 0 is disabled.")


def test_gpu_that_should_be_isolated_is_sick_beside_settings_too() -> None:
    said = found(document(failed("software", PERSISTENCE), failed("memory", PERSISTENCE, ISOLATE)))
    assert said.level is Level.FAIL
    assert said.seen.startswith("memory: ")
    assert said.seen.endswith(" and 1 more")


@pytest.mark.parametrize(
    ("name", "sick"),
    [("Persistence Mode", False), ("Permissions and OS Blocks", False), ("Page Retirement/Row Remap", True), ("CUDA Main Library", True)],
)
def test_dcgm_3_gives_no_numbers_so_settings_are_known_by_name(name: str, sick: bool) -> None:
    printed = document(failed(name, "text", gpus=1), root="DCGM GPU Diagnostic")
    assert diagnosis(printed) == (DiagnosedTest(name, "text"),)
    assert (found(printed).level is Level.FAIL) == sick


def test_failure_without_a_word_is_told_by_its_test() -> None:
    test = {"name": "pcie", "results": [{"gpu_id": "0", "status": "FAIL"}]}
    assert diagnosis(document(test)) == (DiagnosedTest("pcie", "failed"),)
    assert diagnosis(document({"results": [{"status": "Fail", "warnings": [{"error_severity": 1}]}]})) == (
        DiagnosedTest("unknown", "{'error_severity': 1}", 1),
    )


@pytest.mark.parametrize(
    "printed",
    [
        "Error: unable to establish a connection to the specified host: localhost\nError: Unable to connect to host engine.",
        "",
        "[]",
        "{}",
        '{"DCGM Diagnostic": {"runtime_error": "busy"}}',
        "no answer within 90 s",
    ],
)
def test_what_is_no_diagnosis_judges_nobody(printed: str) -> None:
    assert diagnosis(printed) is None
    assert all(one.check != "dcgmi" for one in gpu_findings(replace(node(), diagnosis=None), None))


def test_words_before_the_document_are_passed_over() -> None:
    assert diagnosis("Successfully ran diagnostic for group.\n" + document(PASSED)) == ()


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)))
def test_whatever_stands_in_the_document_ends_in_no_exception(anything: Any) -> None:
    for printed in (
        json.dumps({"DCGM Diagnostic": {"test_categories": anything}}),
        json.dumps({"DCGM Diagnostic": {"test_categories": [{"tests": anything}]}}),
        json.dumps({"DCGM Diagnostic": {"test_categories": [{"tests": [{"results": anything}]}]}}),
        json.dumps({"DCGM Diagnostic": {"test_categories": [{"tests": [{"results": [{"status": "Fail", "warnings": anything}]}]}]}}),
    ):
        with contextlib.suppress(StopIteration):
            diagnosis(printed)
