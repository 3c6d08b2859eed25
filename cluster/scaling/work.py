"""Work and pace: what requests ask of replicas, and what one replica does in a second.

A request is three kinds of work: tokens of its prompt that no prefix cache has, tokens of its answer, and KV cache held for a while. An
engine does the first two by turns, so their shares of its time add up. The KV cache is another resource beside them. A model needs as many
replicas as the scarcer of the two asks for.
"""

from dataclasses import astuple, dataclass
from math import exp, log

#: Numbers that differ by less are the same.
TINY = 1e-6
#: Logarithms of a shape's numbers are rounded to multiples of this.
ROUNDED = 0.02


@dataclass(frozen=True, slots=True)
class Work:
    """An amount of work; divided by seconds it is a rate."""

    prefill_tokens: float = 0.0
    """Tokens of prompts that no prefix cache has."""
    decode_tokens: float = 0.0
    """Tokens of answers; expected ones where the answer is not finished."""
    kv_token_s: float = 0.0
    """Tokens in the KV cache times the seconds that they are held while a request runs. Time in a line is not counted: it would make a
    model that is too small look as if each request were larger."""

    def times(self, factor: float) -> "Work":
        """Returns the amount times a factor: 1 / seconds makes a rate of it."""
        return Work(self.prefill_tokens * factor, self.decode_tokens * factor, self.kv_token_s * factor)


NO_WORK = Work()


@dataclass(frozen=True, slots=True)
class Shape:
    """The requests of a model, on average."""

    prompt_tokens: float
    answer_tokens: float
    cached_tokens: float = 0.0
    """Of the prompt, that the prefix cache has."""
    variation: float = 0.0
    """Variance of the prompts' lengths over the square of their mean."""

    @property
    def uncached_tokens(self) -> float:
        """Returns the tokens of the prompt that are computed; at least one is."""
        return max(1.0, self.prompt_tokens - self.cached_tokens)

    def rounded(self) -> "Shape":
        """Returns the shape to a hundredth or so: means of a few requests are worth no more, and the same numbers come again."""
        uncached, cached = _rounded(self.uncached_tokens), _rounded(self.cached_tokens)
        return Shape(uncached + cached, _rounded(self.answer_tokens), cached, _rounded(self.variation))


def _rounded(number: float) -> float:
    return exp(round(log(number) / ROUNDED) * ROUNDED) if number > TINY else 0.0


@dataclass(frozen=True, slots=True)
class Mix:
    """The requests of the last while, added up; older ones count less."""

    requests: float = 0.0
    uncached_tokens: float = 0.0
    cached_tokens: float = 0.0
    answer_tokens: float = 0.0
    squared_tokens: float = 0.0
    """The squares of the lengths of their prompts."""

    @property
    def shape(self) -> Shape:
        """Returns the average request."""
        requests = max(TINY, self.requests)
        prompt = (self.uncached_tokens + self.cached_tokens) / requests
        variation = self.squared_tokens / requests / prompt**2 - 1 if prompt > TINY else 0.0
        return Shape(prompt, self.answer_tokens / requests, self.cached_tokens / requests, max(0.0, variation))

    def faded(self, part: float) -> "Mix":
        """Returns a part of it."""
        return Mix(*(part * number for number in astuple(self)))

    def plus(self, other: "Mix") -> "Mix":
        """Returns the requests of both."""
        return Mix(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))


#: The requests that a pace is for before any came, about those of Azure's public trace of conversations (2023).
USUAL = Shape(1024, 256)
#: They count as if so many had come.
FIRST_REQUESTS = 8.0
FIRST = Mix(
    FIRST_REQUESTS,
    FIRST_REQUESTS * USUAL.prompt_tokens,
    0.0,
    FIRST_REQUESTS * USUAL.answer_tokens,
    FIRST_REQUESTS * USUAL.prompt_tokens**2,
)


@dataclass(frozen=True, slots=True)
class Pace:
    """The rates that one replica sustains while it keeps its objectives. All three are above 0."""

    prefill_tokens_s: float
    """Uncached prompt tokens a second, if it did nothing else."""
    decode_tokens_s: float
    """Answer tokens a second, if it did nothing else."""
    kv_tokens: float
    """Tokens that its KV cache holds."""

    def time_share(self, rate: Work) -> float:
        """Returns the share of one replica's time that a rate of work takes."""
        return rate.prefill_tokens / self.prefill_tokens_s + rate.decode_tokens / self.decode_tokens_s

    def kv_share(self, rate: Work) -> float:
        """Returns the share of one replica's KV cache that a rate of work occupies (Little's law)."""
        return rate.kv_token_s / self.kv_tokens

    def replicas(self, rate: Work, factor: float = 1.0) -> float:
        """Returns how many replicas a rate of work needs, as a fraction, or the seconds that an amount takes one replica.

        Args:
            rate: of the work.
            factor: how many times as fast as this a replica is; its KV cache is as large.
        """
        return max(self.time_share(rate) / factor, self.kv_share(rate))


@dataclass(frozen=True, slots=True)
class Slo:
    """The objectives of a model: this share of its requests has its first token, and its tokens, in time."""

    ttft_s: float
    """Seconds from arrival to the first token."""
    itl_s: float
    """Seconds between two tokens of an answer, on average over the answer."""
    quantile: float = 0.9
    """Share of requests that both must hold for."""
