"""The table of fields beside vLLM's own request classes: a field that nobody has sorted is a hole in the allow-list."""

import pytest

from deployments.policy.body.field_table import FIELDS, TEMPLATE_ARGUMENTS_REFUSED
from deployments.policy.body.shape import ITEM_TYPES
from deployments.policy.request.calls import ENDPOINTS
from tests.alone import vllm_itself

#: Arguments of templates that mean the same as the request's fields of that name.
TEMPLATE_ARGUMENTS_TAKEN = frozenset({"documents", "add_generation_prompt", "continue_final_message"})


@pytest.fixture(scope="module")
def read() -> dict[str, list[str]]:
    fields: dict[str, list[str]] = vllm_itself.ask("request_fields")
    return fields


def test_every_endpoint_has_a_table(read: dict[str, list[str]]) -> None:
    assert set(ENDPOINTS.values()) == set(FIELDS) == set(read)


@pytest.mark.parametrize("endpoint", FIELDS)
def test_every_field_that_vllm_reads_is_sorted_and_no_row_names_another(endpoint: str, read: dict[str, list[str]]) -> None:
    sorted_here = set(FIELDS[endpoint])
    assert set(read[endpoint]) - sorted_here == set(), "a new field of vLLM's: find out what it does, then give it a row"
    assert sorted_here - set(read[endpoint]) == set(), "vLLM has no such field any more"


def test_what_vllm_takes_beside_its_fields_is_known() -> None:
    doors = vllm_itself.ask("second_doors")
    assert set(doors["template_arguments"]) <= TEMPLATE_ARGUMENTS_REFUSED | TEMPLATE_ARGUMENTS_TAKEN
    assert set(doors["item_types"]) == ITEM_TYPES
    assert doors["limits"] == ["1024", "1024", "128", "128", "4", "1024", "128"]  # the bounds in `field_table` follow from these
