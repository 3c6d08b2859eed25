"""`deployments.policy.fleet.reclaim_notices`: a machine that stays is never drained, and one that goes always in time."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.inventory import Inventory
from deployments.policy.fleet.reclaim_notices import AWS_EVENTS, AWS_SPOT, GCP_EVENT, GCP_PREEMPTED, QUESTIONS, Notice, notice

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SITES = {
    "aws": {"region": "us-east-2", "zone": "us-east-2a", "machine": "p5.48xlarge", "ami": "a", "subnet": "s", "security_group": "g"},
    "gcp": {
        "project": "p",
        "zone": "us-central1-a",
        "machine": "a3-ultragpu-8g",
        "source_image": "i",
        "subnetwork": "n",
        "nccl_folder": "/f",
        "nccl_profile": "/p",
    },
    "kuberay": {},
    "onprem": {"head": "10.0.0.1"},
}


def event(code: str, before: str, state: str = "active") -> dict[str, str]:
    return {"Code": code, "NotBefore": before, "State": state, "EventId": "e"}


@pytest.mark.parametrize(
    ("question", "body", "expected"),
    [
        (AWS_SPOT, '{"action": "terminate", "time": "2026-11-22T12:02:00Z"}', Notice("spot terminate", 110)),
        (AWS_SPOT, '{"action": "stop", "time": "2026-11-22T11:59:00Z"}', Notice("spot stop", 1)),
        (AWS_EVENTS, "[]", None),
        (AWS_EVENTS, json.dumps([event("instance-retirement", "22 Nov 2026 12:30:00 GMT")]), Notice("instance-retirement", 1790)),
        (AWS_EVENTS, json.dumps([event("system-reboot", "24 Nov 2026 12:30:00 GMT")]), None),
        (AWS_EVENTS, json.dumps([event("system-reboot", "22 Nov 2026 12:30:00 GMT", "completed")]), None),
        (
            AWS_EVENTS,
            json.dumps([event("system-reboot", "22 Nov 2026 12:45:00 GMT"), event("instance-stop", "22 Nov 2026 12:10:00 GMT")]),
            Notice("instance-stop", 590),
        ),
        (GCP_PREEMPTED, "FALSE\n", None),
        (GCP_PREEMPTED, "TRUE\n", Notice("preempted", 20)),
        (GCP_EVENT, "NONE", None),
        (GCP_EVENT, "MIGRATE_ON_HOST_MAINTENANCE", None),
        (GCP_EVENT, "TERMINATE_ON_HOST_MAINTENANCE", Notice("host maintenance", 3590)),
    ],
)
def test_what_an_answer_means(question: str, body: str, expected: Notice | None) -> None:
    assert notice(question, body, NOW) == expected


@given(st.sampled_from([one for questions in QUESTIONS.values() for one in questions]), st.text() | st.from_type(dict).map(json.dumps))
def test_answer_that_is_not_understood_drains_nothing(question: str, body: str) -> None:
    found = notice(question, body, NOW)
    assert found is None or body.strip() in ("TRUE", "TERMINATE_ON_HOST_MAINTENANCE")


@pytest.mark.parametrize(
    ("sites", "cloud"), [((), None), (("aws",), "aws"), (("gcp",), "gcp"), (("aws", "gcp"), None), (("aws", "kuberay"), None)]
)
def test_only_a_clouds_own_machines_are_asked(sites: tuple[str, ...], cloud: str | None) -> None:
    assert Inventory.model_validate({site: SITES[site] for site in sites}).cloud == cloud


def test_hosts_of_ones_own_get_no_notices() -> None:
    assert Inventory.model_validate({"aws": SITES["aws"], "onprem": SITES["onprem"]}).cloud is None
