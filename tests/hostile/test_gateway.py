"""The quick part of the hostile suite that needs no real engine: raw sockets, and both fuzzers over a few hundred cases each."""

import asyncio
from collections.abc import Iterator

import pytest

from deployments.policy.body.field_table import FIELDS
from deployments.policy.request.calls import ENDPOINTS
from tests.hostile import fuzz_bytes, fuzz_fields
from tests.hostile.alone import Alone, gateway
from tests.hostile.attacks import ATTACKS, Target
from tests.hostile.openapi import document
from tests.hostile.real import GROWTH_MIB

HEADER_S, BODY_READ_S = 2.0, 3.0
#: Takes a minute, for a client may read nothing for so long.
LONG = {"readers_that_do_not_read"}


@pytest.fixture(scope="module")
def alone() -> Iterator[Alone]:
    """A gateway that waits for its clients for a short time only."""
    with gateway(header_s=HEADER_S, body_read_s=BODY_READ_S) as one:
        yield one


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - LONG))
def test_attack_is_refused_and_memory_stays(alone: Alone, name: str) -> None:
    before = alone.rss_mib
    assert not asyncio.run(ATTACKS[name](Target(alone.port, HEADER_S, BODY_READ_S, many=20)))
    assert alone.rss_mib <= before + GROWTH_MIB
    assert alone.process.is_running()


def test_mutated_bytes_have_one_reading(alone: Alone) -> None:
    found = asyncio.run(fuzz_bytes.run(alone.port, first=1, count=300, within_s=30))
    assert (found.cases, found.wrong) == (600, [])


def test_generated_requests_are_answered(alone: Alone) -> None:
    found = fuzz_fields.Found()
    fuzz_fields.run(fuzz_fields.Sender(alone.port, 30, found), seed=1, count=1_000, generated=100)
    assert found.cases >= 1_000
    assert not found.wrong


def test_document_has_every_path_and_every_field() -> None:
    paths = document()["paths"]
    assert paths.keys() == ENDPOINTS.keys()
    for path, endpoint in ENDPOINTS.items():
        schema = paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert FIELDS[endpoint].keys() <= schema["properties"].keys()
