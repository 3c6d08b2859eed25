"""Loads under which rules are compared: those that any rule must stand, on Scout in FP8 on two H100s, and the episode of llm-d.

The numbers of each rule are those of its source. Where one needs a capacity it gets the planner's: requests and prompt tokens a second of
one replica at the objectives. Ours is behind the herd's gateway, whose line lets those go first that can keep their objective. The others
are behind routers that have no line: requests wait in the engines, where these rules look at them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.scaling.limits import Limits
from cluster.scaling.pace import replica_of, sustained
from cluster.scaling.work import USUAL, Shape, Slo
from configs import schema
from deployments.commands.from_files import loaded_herd
from deployments.commands.simulating.subject import Asked, first_guesses, served, subject
from deployments.simulation.loads.clients import clients
from deployments.simulation.loads.generated import Lengths, load
from deployments.simulation.loads.readers import requests as read
from deployments.simulation.loads.traces import Traced, generated, spread
from deployments.simulation.setup import Setup
from tests.bench.scaling import episode

CONFIG = Path(__file__).parents[3] / "configs" / "scout-fp8-2xh100.yaml"
LENGTHS, SHAPE = Lengths(2000, 300), Shape(2000, 300)
LEAST, MOST, START_S = 1, 16, 100.0
TRACE_S = 1200.0
"""Of Mooncake's trace: its first 20 minutes."""
FREELY = schema.Limits(queue_s=3600, queue_requests=100_000)
"""Every request waits in the engines, as long as it must, as behind the peers' own routers: their rules look at queues there."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load over one cluster."""

    name: str
    slo: Slo
    limits: Limits
    setup: Setup
    requests: Callable[[int], Sequence[Traced]]
    """The load of a seed."""
    output_tokens: float
    requests_s: float
    """Of one replica at the objectives, for the rules that are told a capacity."""
    prefill_tokens_s: float

    @property
    def herd(self) -> Setup:
        """Returns the cluster behind the herd's own gateway."""
        return replace(self.setup, ttft_s=self.slo.ttft_s, tells_slots=True)

    @property
    def is_closed(self) -> bool:
        """Returns whether clients ask again when they are answered: the load depends on the replicas, so no oracle can know it."""
        return any(one.client is not None for one in self.requests(1))

    @property
    def bounds(self) -> tuple[int, int]:
        """The fewest and the most replicas."""
        return self.setup.least, self.setup.most


def _scout(name: str, text: str, start_s: float = START_S, deaths: tuple[float, ...] = ()) -> Scenario:
    return _on_scout(name, lambda seed: list(load(text, LENGTHS, seed).requests(seed)), load(text, LENGTHS).until_s, (start_s, deaths))


def _on_scout(
    name: str,
    requests: Callable[[int], list[Traced]],
    until_s: float,
    start: tuple[float, tuple[float, ...]],
    shape: Shape = SHAPE,
) -> Scenario:
    start_s, deaths = start
    config = loaded_herd([CONFIG], [f"models.llama-4-scout.scaling.start_s={max(1.0, start_s)}"]).config
    one = subject(config, Asked(replicas=(LEAST, MOST)))
    assert one.limits is not None
    first = first_guesses(served(requests(1), one.context_tokens), one.pace)[0]
    setup = replace(one.setup, until_s=until_s, replicas=first, deaths=deaths, limits=FREELY, tells_slots=False)
    full = sustained(replica_of(one.engine), shape, one.slo)
    return Scenario(
        name, one.slo, one.limits, setup, lambda seed: served(requests(seed), one.context_tokens), shape.answer_tokens,
        full.requests_s, full.pace.prefill_tokens_s,
    )  # fmt: skip


def _clients() -> Scenario:
    """Ten clients that ask one question after the other, and for a quarter of an hour 200 more."""

    def requests(seed: int) -> list[Traced]:
        return clients([(10, 0.0, 1500.0), (200, 240.0, 1140.0)], LENGTHS, seed)

    return _on_scout("closed loop", requests, 1500.0, (START_S, ()))


def _episode() -> Scenario:
    replica = replica_of(episode.ENGINE, episode.DECODE)
    pace = sustained(replica, USUAL, episode.SLO).pace
    limits = Limits(pace, episode.LEAST, episode.MOST, episode.SLO, gpus_per_replica=2, expected_start_s=START_S, replica=replica)
    # Their prompt tokens a second, calibrated, and the middle of their requests a second within the band.
    return Scenario(
        "llm-d's episode", episode.SLO, limits, episode.setup(START_S), lambda seed: list(episode.requests(seed)), 1000.0, 1.45, 15_928
    )


def _conversations(trace: Path | None) -> Callable[[int], list[Traced]]:
    """Mooncake's trace, the same for each seed; or one of its shape for each seed."""
    if trace is not None:
        found = [one for one in spread(read(trace.read_bytes())) if one.at_s < TRACE_S]
        return lambda _: found
    return lambda seed: [one for one in generated(seed=seed) if one.at_s < TRACE_S]


def scenarios(trace: Path | None = None) -> list[Scenario]:
    """All of them.

    Args:
        trace: Mooncake's conversations; None: generated ones of that shape.
    """
    step = "step:3@240,15@720"
    return [
        _scout("5× step", step),
        *(_scout(f"5× step, start {start_s} s", step, start_s) for start_s in (0, 60, 300)),
        _scout("ramp", "ramp:2-16@900"),
        _scout("flash crowd of 60 s", "flash:6,30@300+60/900"),
        _scout("mix shift", "mix:6@300/900"),
        _scout("steady", "step:12@900"),
        _scout("replica death", "step:12@900", deaths=(300.0,)),
        _on_scout(
            "conversations" if trace is None else "Mooncake, 20 min", _conversations(trace), TRACE_S, (START_S, ()), Shape(12_000, 343)
        ),
        _clients(),
        _episode(),
    ]
