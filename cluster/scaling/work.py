"""Work and pace: what requests ask of replicas, and what one replica does in a second.

A request is three kinds of work: tokens of its prompt that no prefix cache has, tokens of its answer, and KV cache held for a while. An
engine does the first two by turns, so their shares of its time add up. The KV cache is another resource beside them. A model needs as many
replicas as the scarcer of the two asks for.
"""

from dataclasses import dataclass

#: Numbers that differ by less are the same.
TINY = 1e-6


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
