"""Addresses and names of machines."""

from pathlib import Path

import pytest

from configs.addresses import in_url, is_one_machines
from configs.load import parse
from deployments.lifecycle.known import Herd


@pytest.mark.parametrize(
    ("address", "one"),
    [("10.0.0.11", True), ("fd00::1", True), ("0.0.0.0", False), ("::", False), ("127.0.0.1", False), ("::1", False), ("node-1", False)],
)
def test_address_in_numbers_is_one_machines(address: str, one: bool) -> None:
    assert is_one_machines(address) == one


@pytest.mark.parametrize(("host", "shown"), [("10.0.0.1", "10.0.0.1"), ("fd00::1", "[fd00::1]"), ("node-1", "node-1")])
def test_ipv6_stands_in_brackets_in_an_address_of_the_web(host: str, shown: str) -> None:
    assert in_url(host) == shown


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("'::'", "http://[::1]:8000"),
        ("'::1'", "http://[::1]:8000"),
        ("'fd00::7'", "http://[fd00::7]:8000"),
        ("node-1", "http://node-1:8000"),
    ],
)
def test_herd_is_reached_from_its_machine_at_an_address_of_the_web(host: str, address: str) -> None:
    text = f"gateway: {{host: {host}}}\nmodels: [{{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}}]"
    assert Herd(Path("/nowhere"), parse(text, "herd.yaml")).endpoint == address
