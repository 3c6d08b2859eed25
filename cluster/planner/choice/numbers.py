"""Numbers for people: short, with no more digits than are known. Exact ones are in `cluster.planner.choice.record`."""

from math import floor, isfinite, log10

from cluster.catalogue.hardware import GIB

KIBI, MEBI = 1024, 1024**2
#: From here on tokens are told in millions, so that a number has at most five characters.
FROM_MILLIONS = 1000 * KIBI


def tokens(count: int) -> str:
    """Returns a number of tokens as `--context` reads it: 512, 315K, 1.13M; K is 1,024. It is rounded down, so that it can be asked for."""
    if count < KIBI:
        return str(count)
    if count < FROM_MILLIONS:
        return f"{_down(count / KIBI)}K"
    return f"{_down(count / MEBI, decimals=2)}M"


def _down(value: float, decimals: int = 1) -> str:
    """Returns a number with three digits, rounded down, without zeros at its end: at most so many decimals, fewer of large numbers."""
    kept = decimals if value < 10 else decimals - 1 if value < 100 else 0
    scaled = floor(value * 10**kept + 1e-9)
    whole, _, rest = f"{scaled / 10**kept:,.{kept}f}".partition(".")
    return f"{whole}.{rest}".rstrip("0").rstrip(".") if rest else whole


def rough(value: float) -> str:
    """Returns an estimate with two digits: 1,800, 28, 0.14."""
    if not isfinite(value) or value <= 0:
        return "0" if value == 0 else "–"
    near = float(f"{value:.1e}")
    return f"{near:,.0f}" if near >= 10 else f"{near:.{1 - floor(log10(near))}f}"


def gib(size_bytes: float) -> str:
    """Returns bytes: 60 GiB, 5.3 GiB, 0.79 GiB."""
    size = size_bytes / GIB
    if abs(size) >= 9.95:
        return f"{size:,.0f} GiB"
    return f"{size:.1f} GiB" if abs(size) >= 1 else f"{size:.2f} GiB"
