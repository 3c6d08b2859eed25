"""Problems of a config, each with its place, and the error that has all of them."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, at a path like `models[1].scaling.max_replicas` (empty: the file as a whole)."""

    path: str
    message: str
    where: str = ""
    """The file and the line that it comes from, or `--set`; empty where the error's source says it."""

    def __str__(self) -> str:
        told = f"{self.path}: {self.message}" if self.path else self.message
        return f"{told} ({self.where})" if self.where else told


class ConfigError(ValueError):
    """A config that cannot be used, with all its problems."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join([f"{source} cannot be used:", *(f"  {problem}" for problem in self.problems)]))


def hint(name: str, allowed: Iterable[str]) -> str:
    """Returns `did you mean 'name'? ` for a name that is nearly one of those that are allowed; else an empty text."""
    close = difflib.get_close_matches(name, sorted(allowed), n=1)
    return f"did you mean {close[0]!r}? " if close else ""
