"""Spans of time as operators write and read them: `10m`, `2 h`."""

import re

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float:
    """Reads a span like `90s`, `10m`, `1.5h` or `2d`; a bare number counts as seconds.

    Raises:
        ValueError: it is no span.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if found is None:
        raise ValueError(f"'{text}' is no span of time: write 90s, 10m, 2h or 1d")
    return float(found[1]) * UNITS[found[2] or "s"]


def told(seconds: float) -> str:
    """Writes a span in its largest unit: `41 s`, `12 min`, `3 h`, `2 d`."""
    for size, called in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {called}"
    return f"{max(0.0, seconds):.0f} s"
