"""Where the panels of a dashboard stand on Grafana's grid of 24 columns.

Decides widths and heights. Panels stand from left to right, and begin a new line where the next one has no room; no two overlap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from monitoring.panels.rows import Panel

COLUMNS = 24
HEIGHT, HEIGHT_OF_NUMBER = 7, 3
ACROSS, ACROSS_BELOW = 4, 3
"""Panels in a line before the fold and below it, where nothing else is said."""


@dataclass(frozen=True, slots=True)
class Place:
    """A rectangle of the grid."""

    x: int
    y: int
    width: int
    height: int


def placed(panels: Sequence[Panel], top: int, across: int) -> Iterator[tuple[Panel, Place]]:
    """Yields each panel with its place.

    Args:
        panels: in the order of reading.
        top: the first free row of the grid.
        across: panels in a line, of those without a width of their own; fewer panels are wider.
    """
    x, y, height = 0, top, 0
    for panel in panels:
        width = panel.width or COLUMNS // min(across, len(panels))
        if x + width > COLUMNS:
            x, y, height = 0, y + height, 0
        place = Place(x, y, width, HEIGHT_OF_NUMBER if panel.shape == "number" else HEIGHT)
        yield panel, place
        x, height = x + width, max(height, place.height)


def bottom(places: Sequence[Place], top: int) -> int:
    """Returns the first row of the grid below all places."""
    return max((place.y + place.height for place in places), default=top)
