"""`monitoring.quantiles`, beside Prometheus' formula."""

import pytest

from monitoring.quantiles import quantile

BOUNDS = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    ("counts", "share", "found"),
    [
        ((0, 0, 0, 0), 0.5, None),
        ((), 0.5, None),
        ((10, 0, 0, 0), 0.5, 0.5),
        ((10, 0, 0, 0), 1.0, 1.0),
        ((5, 5, 0, 0), 0.75, 1.5),
        ((0, 0, 8, 0), 0.25, 2.5),
        ((0, 4, 0, 0), 0.0, 1.0),
        ((1, 0, 0, 9), 0.95, 4.0),
        ((1, 0, 1, 0), 0.5, 1.0),
    ],
)
def test_quantile_is_interpolated_inside_its_bucket(counts: tuple[int, ...], share: float, found: float | None) -> None:
    assert quantile(BOUNDS, counts, share) == found


def test_histogram_without_bounds_has_no_quantile() -> None:
    assert quantile((), (3,), 0.5) is None
