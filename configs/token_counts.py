"""Numbers of tokens, as people write them.

Decides that K is 1024 and M 1024 K, as in the names of context lengths.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator

FORM = r"(\d{1,12}(?:\.\d{1,6})?)([KkMm]?)"


def token_count(text: str) -> int:
    """Reads a number of tokens as people write it: 131072, 128K, 1M.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(FORM, text)
    count = int(float(match[1]) * {"": 1, "k": 1024, "m": 1024**2}[match[2].lower()]) if match else 0
    if count < 1:
        raise ValueError(f"{text!r} is not a number of tokens; write 131072, 128K or 1M")
    return count


def token_text(count: int) -> str:
    """Writes a number of tokens as people do: 131072 as 128K."""
    for size, letter in ((1024**2, "M"), (1024, "K")):
        if count % size == 0:
            return f"{count // size}{letter}"
    return str(count)


def _read(value: object) -> object:
    return token_count(value) if isinstance(value, str) else value


TokenCount = Annotated[int, BeforeValidator(_read)]
"""A field that takes 1048576 and 1M."""
