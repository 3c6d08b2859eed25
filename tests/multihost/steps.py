"""The commands of "From three bare DGX nodes to an answering Maverick" (`cluster/README.md`), for the fake hosts."""

import re
from pathlib import Path

from tests.multihost.hosts import NETWORK

README = Path(__file__).parents[2] / "cluster" / "README.md"


def steps(text: str) -> tuple[str, ...]:
    """Returns the page's commands, without the one that makes the config: the tests have a smaller one.

    Addresses are in the network of the fake hosts.
    """
    page = text.partition("<!-- steps:")[2].partition("<!-- /steps -->")[0]
    lines = [re.sub(r" +# .*", "", line) for line in page.partition("```sh\n")[2].partition("\n```")[0].splitlines()]
    return tuple(line.replace("10.0.0.", f"{NETWORK}.") for line in lines if not line.startswith("cp "))


def token() -> str:
    """Returns the line that the page has for a shell that runs Ray's own commands.

    Raises:
        ValueError: the page has no such line.
    """
    for line in README.read_text(encoding="utf-8").splitlines():
        if line.startswith("export RAY_AUTH_MODE"):
            return line
    raise ValueError("the page does not say how Ray's token is made")


def between(first: str, last: str) -> tuple[str, ...]:
    """Returns the page's commands from one to another, each named by its beginning.

    Raises:
        ValueError: the page has no such command.
    """
    found = steps(README.read_text(encoding="utf-8"))
    begins, ends = (next((number for number, one in enumerate(found) if one.startswith(word)), None) for word in (first, last))
    if begins is None or ends is None or begins > ends:
        raise ValueError(f"the page has no commands from {first!r} to {last!r}: {found}")
    return found[begins : ends + 1]
