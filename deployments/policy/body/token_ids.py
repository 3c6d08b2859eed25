"""Lists of token ids in a request's body: told from other lists by their beginning, for a prompt may have millions of ids."""

from dataclasses import dataclass
from typing import Any

from configs.requests import Requests
from deployments.policy.body.bounds import refused
from deployments.policy.errors.client_errors import BadRequest

#: Elements of a list by which it is told what the list holds. A prompt of token ids may have millions.
_FIRST = 1024


def are_ids(values: list[Any]) -> bool:
    """Tells whether all elements are whole numbers, and none is a boolean, a string or a number with a fraction."""
    return set(map(type, values)) <= {int}


def begin_with_ids(values: list[Any]) -> bool:
    """Tells whether a list holds token ids, by its first elements; `deployments.policy.body.sizes.check_ids` looks at all of them."""
    return are_ids(values[:_FIRST])


def no_ids(at: str) -> BadRequest:
    """Builds the error of a list that should hold token ids."""
    return refused(at, "must be a list of token ids (whole numbers).")


@dataclass(frozen=True, slots=True)
class Ids:
    """A list of token ids of at most so many; of any number where the context bounds it (`deployments.policy.body.sizes`)."""

    most: int | None = None

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`. vLLM would take 7.0 and "7" for 7; no client sends them, and other checks could not see them."""
        if isinstance(value, list) and self.most is not None and len(value) > self.most:
            raise refused(at, f"has {len(value)} token ids; it may have {self.most}.")
        if not isinstance(value, list) or not begin_with_ids(value):
            raise no_ids(at)
