"""The values of `herd simulate`'s options, as people write them: objectives, ranges, GPUs with a price."""

import re
from dataclasses import dataclass

import typer
from pydantic import ValidationError

from configs.scaling import Slo
from configs.token_counts import token_count

MOST_REPLICAS = 1024
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


def objectives(text: str) -> Slo:
    """Reads objectives: ttft_s=3,itl_s=0.1,quantile=0.9, of which each may be left out.

    Raises:
        BadParameter: they are none; the message names the field.
    """
    try:
        pairs = [part.partition("=") for part in text.split(",")]
        return Slo.model_validate({name.strip(): float(value) for name, _, value in pairs})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise typer.BadParameter(f"{wrong}. Write for example ttft_s=3,itl_s=0.1,quantile=0.9") from error
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no objective: write for example ttft_s=3,itl_s=0.1,quantile=0.9") from error


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
