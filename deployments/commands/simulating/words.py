"""The values of `herd simulate`'s options, as people write them: objectives, ranges, GPUs with a price."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import typer
from pydantic import ValidationError

from configs.scaling import Slo
from configs.token_counts import token_count

MOST_REPLICAS = 1024
#: The fields of `slo` that a simulation keeps to. It has no failures, so that `availability` says nothing there.
OBJECTIVES = ("ttft_s", "itl_s", "quantile")
EXAMPLE = "Write for example ttft_s=3,itl_s=0.1,quantile=0.9"
#: A number below 100,000, with at most four decimals.
PRICE = r"\d{1,5}(\.\d{1,4})?"


@dataclass(frozen=True, slots=True)
class Range:
    """A range of replicas."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class PricedGpu:
    """A GPU's name, and its price of an hour where that was said."""

    name: str
    price: float | None


def objectives(text: str) -> Mapping[str, float]:
    """Reads objectives: ttft_s=3,itl_s=0.1,quantile=0.9, of which each may be left out; those are the model's own then.

    Raises:
        BadParameter: they are none; the message names the field.
    """
    pairs = [(name.strip(), value) for name, _, value in (part.partition("=") for part in text.split(","))]
    said = {name: _number(text, value) for name, value in pairs}
    if unknown := [name for name in said if name not in OBJECTIVES]:
        raise typer.BadParameter(f"{unknown[0]!r} is no objective of a simulation: there are {', '.join(OBJECTIVES)}. {EXAMPLE}")
    if len(said) < len(pairs):
        raise typer.BadParameter(f"{text!r} has an objective twice: write each once. {EXAMPLE}")
    try:
        Slo.model_validate(said)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise typer.BadParameter(f"{wrong}. {EXAMPLE}") from error
    return said


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no objective. {EXAMPLE}") from error


def replicas(text: str) -> Range:
    """Reads a range of replicas: 1-8, or one number.

    Raises:
        BadParameter: it is none.
    """
    found = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most <= MOST_REPLICAS:
        raise typer.BadParameter(f"{text!r} is no range of replicas: write 1-8, or one number; at least 1, at most {MOST_REPLICAS:,}")
    return Range(least, most)


def priced_gpu(text: str) -> PricedGpu:
    """Reads a GPU, with the price of one GPU-hour behind an equals sign: H100, or H100=2.5.

    Raises:
        BadParameter: the price is none.
    """
    name, mark, price = text.partition("=")
    if not name or (mark and not re.fullmatch(PRICE, price, re.ASCII)):
        raise typer.BadParameter(f"{text!r} is no GPU with its price: write H100, or H100=2.5 with the price of one GPU-hour")
    return PricedGpu(name, float(price) if mark else None)


def length(text: str | int) -> int:
    """Reads a number of tokens: 2000 or 2K.

    Raises:
        BadParameter: it is none.
    """
    try:
        return token_count(str(text))  # typer parses defaults too, which are numbers already
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
