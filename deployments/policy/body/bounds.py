"""How a field of a request is bounded: one class for each kind of bound.

Decides over one decoded value at a time, and raises `BadRequest` with the field's name, the bound and the way out. A value that is null is
never asked about: it means that the field is not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from configs.requests import Requests, is_the_clusters
from deployments.policy.body.json_size import json_size
from deployments.policy.errors.client_errors import BadRequest

KIB = 1024
#: Characters of a number that comes as a string: reading one of 12 million digits takes 3 s.
LONGEST_NUMBER = 256
MIB = KIB * KIB
#: The object that most streams are asked for with: it is not large.
_USUAL = {"include_usage": True}


class Rule(Protocol):
    """A bound of one field."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401 (whatever a client sends)
        """Checks a value that is not null.

        Args:
            at: the field's name, with its path where it is inside another one.
            value: the decoded value.
            requests: the config's numbers.

        Raises:
            BadRequest: the value is out of bounds.
        """


def refused(at: str, sentence: str, code: str | None = None) -> BadRequest:
    """Builds the error of a field."""
    return BadRequest(f"'{at}' {sentence}", param=at, code=code)


def number_of(value: object) -> float | None:
    """Reads a number as vLLM's request classes do, which also take numbers in strings; None where there is none."""
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= LONGEST_NUMBER:
        try:
            return float(value)
        except ValueError:
            return None
    return None


@dataclass(frozen=True, slots=True)
class Plain:
    """A number, a boolean or a short word. Whether it is the right one is for vLLM to say."""

    longest: int = 256

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        if isinstance(value, list | dict):
            raise refused(at, "must be a single value, not a list or an object.")
        if isinstance(value, str) and len(value) > self.longest:
            raise refused(at, f"has {len(value)} characters; it may have {self.longest}.")


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean that the gateway itself acts on: it must mean the same to the gateway and to the engine."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`. The numbers 0 and 1 are booleans to everybody; words such as "false" are not."""
        if value not in (True, False):
            raise refused(at, "must be true or false, without quotation marks.")


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `least` to `most`; `most` may name the config's bound."""

    least: int
    most: int | str
    way_out: str = ""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        most = getattr(requests, self.most) if isinstance(self.most, str) else self.most
        number = number_of(value)
        if number is None or not self.least <= number <= most:
            raise refused(at, f"must be a number from {self.least} to {most}. {self.way_out}".rstrip())


@dataclass(frozen=True, slots=True)
class Text:
    """A text of at most so many characters; of any length where the context bounds it (`deployments.policy.body.sizes`)."""

    longest: int | None = None

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        if not isinstance(value, str):
            raise refused(at, "must be a string.")
        if self.longest is not None and len(value) > self.longest:
            raise refused(at, f"has {len(value)} characters; it may have {self.longest}.")


@dataclass(frozen=True, slots=True)
class Texts:
    """One text or a list of texts, each of at most so many bytes, together of at most so many."""

    most: int
    longest: int
    together: int

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise refused(at, "must be a list of strings.")
        if len(texts) > self.most:
            raise refused(at, f"has {len(texts)} entries; it may have {self.most}.")
        sizes = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
        if any(size > self.longest for size in sizes):
            raise refused(at, f"has an entry of {max(sizes)} bytes; each may have {self.longest}.")
        if sum(sizes) + len(sizes) > self.together:
            raise refused(at, f"is too long in all: its {len(texts)} entries may have {self.together - len(texts)} bytes together.")


@dataclass(frozen=True, slots=True)
class Biases:
    """Token ids with a number for each: OpenAI's `logit_bias`."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        if not isinstance(value, dict) or any(isinstance(bias, list | dict) for bias in value.values()):
            raise refused(at, "must be an object with a number for each token id.")
        if len(value) > requests.logit_bias:
            raise refused(at, f"has {len(value)} tokens; it may have {requests.logit_bias}.")
        if any(len(token) > 20 for token in value):
            raise refused(at, "has a key that is no token id.")


@dataclass(frozen=True, slots=True)
class Small:
    """A list or an object of at most so many KiB, whose members vLLM checks."""

    kib: int

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        if value != _USUAL and json_size(value, self.kib * KIB) > self.kib * KIB:
            raise refused(at, f"may have {self.kib * KIB} bytes, and has more.")


@dataclass(frozen=True, slots=True)
class Object:
    """An object of at most so many KiB."""

    kib: int

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        if not isinstance(value, dict):
            raise refused(at, "must be an object.")
        Small(self.kib).check(at, value, requests)


@dataclass(frozen=True)
class Members:
    """An object whose members are bounded one by one, and which has no others."""

    rules: Mapping[str, Rule]

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        if not isinstance(value, dict):
            raise refused(at, "must be an object.")
        for name, inner in value.items():
            rule = self.rules.get(name)
            if rule is None:
                raise refused(f"{at}.{name}", f"is not known; there are: {', '.join(self.rules)}.")
            if inner is not None:
                rule.check(f"{at}.{name}", inner, requests)


@dataclass(frozen=True, slots=True)
class Refused:
    """A field that no request may have, and why."""

    why: str

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        raise refused(at, self.why, code="unsupported_parameter")


@dataclass(frozen=True, slots=True)
class Own:
    """A field that only the cluster itself may send to an engine; the value that says nothing is let through."""

    why: str
    default: int | None = None

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        if self.default is None or value != self.default:
            raise refused(at, f"is the cluster's own: {self.why}", code="unsupported_parameter")


@dataclass(frozen=True, slots=True)
class Keys:
    """An object that vLLM hands on as it is, whose names are therefore looked at one by one."""

    kib: int
    refused_names: frozenset[str]

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        Object(self.kib).check(at, value, requests)
        for name in value:
            if name in self.refused_names or is_the_clusters(name):
                raise BadRequest(f"'{at}.{name[:64]}' is not taken: leave it out.", param=at, code="unsupported_parameter")


@dataclass(frozen=True, slots=True)
class Xargs:
    """`vllm_xargs`, which vLLM hands on to the engine's core and to plug-ins: only names that the config allows."""

    def check(self, at: str, value: Any, requests: Requests) -> None:  # noqa: ANN401
        """See `Rule.check`."""
        Object(4).check(at, value, requests)
        for name in value:
            own = is_the_clusters(name)
            if own or name not in requests.allowed_xargs:
                allow = "leave it out" if own else "leave it out, or have the operator add it to gateway.requests.allowed_xargs"
                why = "is the cluster's own" if own else "is not allowed here"
                raise BadRequest(f"'{at}.{name[:64]}' {why}: {allow}.", param=at, code="unsupported_parameter")
