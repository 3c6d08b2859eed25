"""`deployments.policy.errors.validation`: a few of the errors of a request's validation, in one short sentence."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.errors.validation import MOST_CHARS, MOST_ERRORS, summary
from tests.unit.samples import JSON


def error(*loc: Any, kind: str = "missing", msg: str = "Field required") -> dict[str, Any]:
    return {"type": kind, "loc": ("body", *loc), "msg": msg, "input": "x" * 100_000}


@pytest.mark.parametrize(
    ("errors", "told", "param"),
    [
        ([], "The request has not the form that this endpoint takes.", None),
        ([error("model")], "model: Field required", "model"),
        ([error("n", kind="int_type", msg="Input should be a valid integer")], "n: Input should be a valid integer", "n"),
        ([error("n", msg="Value error, too many")], "n: too many", "n"),
        ([error()], "Field required", None),
        ([{"msg": 7}, 3], "7", None),
        ([{}], "is not valid", None),
        (["Unsupported Media Type"], "Unsupported Media Type", None),
        ([error(17, kind="json_invalid", msg="JSON decode error")], "The body is not JSON.", None),
        (
            [error("input", "str"), error("input", "list[union[…]]", 0, "Message", "role")],
            "input.0.role: Field required; input: Field required",
            "input.0.role",
        ),
        (
            [
                error("input", 0, "Message", "content", "str"),
                error("input", 0, "Message", "content", 0, "Text", "type", kind="literal_error", msg="Input should be 'text'"),
                error("input", 0, "Message", "content", 0, "Text", "text"),
                error("input", 0, "Message", "content", 0, "Image", "detail"),
            ],
            "input.0.content.0.detail: Field required; input.0.content: Field required",
            "input.0.content.0.detail",
        ),
        ([error("a", "type", kind="literal_error", msg="Input should be 'b'")], "a.type: Input should be 'b'", "a.type"),
        ([error("a"), error("a")], "a: Field required", "a"),
    ],
)
def test_errors_that_are_told(errors: list[Any], told: str, param: str | None) -> None:
    assert summary(errors) == (told, param)


def test_summary_is_short_however_many_and_long_the_errors() -> None:
    message, _ = summary([error("input", number, msg="x" * 10_000) for number in range(1000)])
    assert len(message) < MOST_ERRORS * (MOST_CHARS + 30)


@given(st.lists(JSON))
def test_anything_is_told(errors: list[Any]) -> None:
    message, _ = summary(errors)
    assert message
