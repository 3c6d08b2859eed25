"""`cluster.planner.choice.numbers`: short numbers, which can be asked for where they are lengths."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import GIB
from cluster.planner.choice.numbers import gib, rough, tokens
from configs.token_counts import token_count as asked


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1K"),
        (7680, "7.5K"),
        (57_477, "56K"),
        (131_072, "128K"),
        (323_123, "315K"),
        (1_023_999, "999K"),
        (1_024_000, "0.97M"),
        (1_048_576, "1M"),
        (1_187_000, "1.13M"),
        (10_485_760, "10M"),
        (12_795_740, "12.2M"),
        (1_500_000_000, "1,430M"),
    ],
)
def test_tokens_are_told_in_units_of_1024(count: int, text: str) -> None:
    assert tokens(count) == text


@given(st.integers(1, 100_000_000))
def test_length_that_is_told_can_be_asked_for_and_is_near(count: int) -> None:
    again = asked(tokens(count).replace(",", ""))
    assert 0.9 * count <= again <= count


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1803.4, "1,800"),
        (12_345, "12,000"),
        (673, "670"),
        (99.6, "100"),
        (28.2, "28"),
        (9.96, "10"),
        (9.0, "9.0"),
        (9.43, "9.4"),
        (0.6, "0.60"),
        (0.1384, "0.14"),
        (0.0534, "0.053"),
        (1, "1.0"),
        (0.1, "0.10"),
        (0.01, "0.010"),
        (0, "0"),
        (-1, "–"),
        (float("inf"), "–"),
    ],
)
def test_estimate_has_two_digits(value: float, text: str) -> None:
    assert rough(value) == text


@pytest.mark.parametrize(("size", "text"), [(60.42, "60 GiB"), (9.96, "10 GiB"), (5.34, "5.3 GiB"), (0.794, "0.79 GiB"), (-61, "-61 GiB")])
def test_sizes_are_short(size: float, text: str) -> None:
    assert gib(size * GIB) == text
