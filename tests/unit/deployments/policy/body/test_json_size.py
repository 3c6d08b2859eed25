"""`deployments.policy.body.json_size`, and the fields that it bounds: no value is written or walked through that is far too large."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.requests import Requests
from deployments.policy.body.bounds import Keys, Object, Small, Xargs
from deployments.policy.body.grammars import Grammar
from deployments.policy.body.json_size import json_size
from deployments.policy.errors.client_errors import BadRequest
from tests.unit.samples import JSON

MANY = 1_000_000


@given(st.recursive(JSON, lambda inner: st.lists(inner, max_size=4), max_leaves=30), st.integers(0, 200))
def test_size_is_exact_up_to_the_bound_and_above_it_beyond(value: Any, most: int) -> None:
    exact = len(msgspec.json.encode(value))
    assert json_size(value, most) == exact if exact <= most else json_size(value, most) > most


class Untouched(list[Any]):
    """A list whose elements nobody may look at."""

    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("the elements were looked at")


LARGE: dict[str, Any] = {
    "list": Untouched([1] * MANY),
    "list inside": [[Untouched([1] * MANY)]],
    "text": "x" * MANY,
    "texts": ["x" * 1000] * 1000,
    "names": {str(number): 1 for number in range(MANY // 10)},
    "lists": [[[]] * 1000] * 1000,
}


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("rule", [Small(4), Object(4), Grammar(), Keys(4, frozenset()), Xargs()], ids=lambda rule: type(rule).__name__)
def test_value_that_is_far_too_large_is_refused_before_it_is_written(rule: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    encode = msgspec.json.encode

    def encoding(value: Any) -> bytes:
        text = encode(value)
        written.append(len(text))
        return text

    monkeypatch.setattr("msgspec.json.encode", encoding)
    value = LARGE[name] if isinstance(rule, Small) else {"a": LARGE[name]}
    with pytest.raises(BadRequest, match="bytes, and has more"):
        rule.check("field", value, Requests())
    assert not written
