"""What rules make of samples: latencies lately, and the time between tokens that engines have now."""

from collections.abc import Iterable, Sequence

from deployments.simulation.autoscaling.observation import Observation, Sample


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value below which a share lies, by nearest rank; None where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def ttft_s(samples: Sequence[Sample], share: float) -> float | None:
    """The quantile of the seconds to first tokens that came lately."""
    return quantile((seconds for sample in samples for seconds in sample.ttft_s), share)


def itl_s(samples: Sequence[Sample], share: float) -> float | None:
    """The quantile over tokens of the seconds between two of them: of each replica the mean between two samples, as often as it has
    running requests."""
    told: list[float] = []
    for before, after in zip(samples, samples[1:], strict=False):
        old = {one.name: one.decoded_tokens for one in before.replicas}
        for one in after.replicas:
            made = one.decoded_tokens - old.get(one.name, one.decoded_tokens)
            if made and one.running:
                told += [one.running * (after.at_s - before.at_s) / made] * one.running
    return quantile(told, share)


def provisioned(seen: Observation) -> int:
    """Replicas that are ready or start."""
    return seen.ready + len(seen.starting)
