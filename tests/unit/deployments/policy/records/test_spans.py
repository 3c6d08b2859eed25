"""Spans of time as operators write and read them."""

import pytest

from deployments.policy.records.spans import seconds_of, told


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5 h", 5400), ("2d", 172800), ("45", 45), (" 0s ", 0)])
def test_span_is_read_in_each_unit(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "10 weeks", "-5m", "1h30m", "ten"])
def test_text_that_is_no_span_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="write 90s, 10m, 2h or 1d"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (172800, "2 d")]
)
def test_span_is_told_in_its_largest_unit(seconds: float, text: str) -> None:
    assert told(seconds) == text
