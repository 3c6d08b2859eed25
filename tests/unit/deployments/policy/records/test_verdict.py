"""A decision as it is told on a gateway's page."""

import pytest

from deployments.policy.records import verdict
from deployments.policy.records.verdict import Verdict


def test_verdict_is_read_from_what_a_page_says() -> None:
    assert verdict.of_plain({"at_s": 1.5, "target": 3, "before": 2, "reason": "more"}) == Verdict(1.5, 3, 2, "more")


@pytest.mark.parametrize("found", [None, 3, {}, {"at_s": "x", "target": 3, "before": 2, "reason": "more"}])
def test_anything_else_is_none(found: object) -> None:
    assert verdict.of_plain(found) is None
