"""Reads facts out of what `dcgmi diag -r 1 --json` prints.

Decides how its words are read, and which of its failures mean that a node must not serve. The JSON of DCGM 4 is under "DCGM Diagnostic",
with a number for each warning's severity (dcgm_errors.h); that of DCGM 3 under "DCGM GPU Diagnostic", with text only.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.doctor.facts import DiagnosedTest

ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")
#: dcgmErrorSeverity_t: "can perform workload, but needs to be monitored", and "can be configured".
MONITOR, CONFIG = 1, 5
#: Tests of settings, where DCGM gives no number; by name, as DCGM 3 writes it.
SETTINGS = ("persistence mode", "environment variables", "permissions and os blocks", "graphics processes", "denylist")
MOST_CHARACTERS = 160


def diagnosis(printed: str) -> tuple[DiagnosedTest, ...] | None:
    """Returns the tests that did not pass; None if the text is no diagnosis, such as a complaint that no host engine runs."""
    try:
        log = json.loads(printed[max(0, printed.find("{")) :])
    except ValueError:
        return None
    found = next((log[name] for name in ROOTS if isinstance(log, dict) and isinstance(log.get(name), dict)), None)
    categories = None if found is None else found.get("test_categories")
    if not isinstance(categories, list):
        return None
    return tuple(_failed(categories))


def _failed(categories: list[Any]) -> Iterator[DiagnosedTest]:
    """Yields each test with a failure once; one that was skipped, or only warned, passed."""
    for test in _all(categories, "tests"):
        results = [one for one in _all([test], "results") if str(one.get("status", "")).lower().startswith("fail")]
        if results:
            warnings = [one for result in results for one in _listed(result.get("warnings"))]
            texts = [str(one["warning"]) if isinstance(one, dict) and "warning" in one else str(one) for one in warnings]
            numbers = [one.get("error_severity") for one in warnings if isinstance(one, dict)]
            said = " ".join((texts or ["failed"])[0].split())[:MOST_CHARACTERS]
            yield DiagnosedTest(str(test.get("name", "unknown")), said, _worst(numbers))


def _all(parents: list[Any], name: str) -> Iterator[Mapping[str, Any]]:
    for parent in parents:
        children = parent.get(name) if isinstance(parent, dict) else None
        yield from (one for one in _listed(children) if isinstance(one, dict))


def _listed(found: Any) -> list[Any]:  # noqa: ANN401 (of a document that others write)
    return found if isinstance(found, list) else []


def _worst(numbers: list[Any]) -> int | None:
    """Returns one of the numbers, one that is no mere setting if there is any; None without numbers."""
    known = [number for number in numbers if isinstance(number, int)]
    return next((number for number in known if number not in (MONITOR, CONFIG)), known[0] if known else None)


def is_sick(test: DiagnosedTest) -> bool:
    """Tells whether a test that failed means that the node must not serve, and not only that a setting should be changed."""
    if test.severity is not None:
        return test.severity not in (MONITOR, CONFIG)
    return test.name.lower() not in SETTINGS
