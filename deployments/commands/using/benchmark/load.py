"""The load of a benchmark, as the command line says it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Load:
    """Requests, and when they are sent: so many at once, so many a second, or as a trace says."""

    requests: int
    concurrency: int | None
    rate: float | None
    """Requests a second, at random times (Poisson)."""
    input_tokens: int
    output_tokens: int
    trace: Path | None = None
    """A file in Mooncake's format: a line of JSON for each request, with its time in ms, its lengths and the blocks of its prompt."""

    @property
    def words(self) -> str:
        """Returns the load as the end of a sentence that begins with the number of requests."""
        if self.trace is not None:
            return f"as {self.trace.name} says"
        lengths = f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out"
        return f"{f'{self.rate:g} a second' if self.rate is not None else f'{self.concurrency} at once'}, {lengths}"
