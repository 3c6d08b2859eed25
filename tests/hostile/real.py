"""A real herd under attack: its engines, its gateway's memory, and whether it still answers."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from tests.bench.process import listener
from tests.e2e.conftest import Herd, config
from tests.hostile.case import COMPLETIONS, SCOUT, SMOLLM, Case, smallest, text
from tests.hostile.sending import Answer, complaints, send

#: The most memory that a gateway may have gained once an attack is over.
GROWTH_MIB = 64.0
MODELS = (SMOLLM, SCOUT)


def config_under_attack(port: int) -> dict[str, Any]:
    """The herd of the end-to-end tests, whose models also stand in for each other, and whose clients get the usual time and no more."""
    wanted = config(port)
    del wanted["gateway"]["limits"]
    for model, other in zip(wanted["models"], (SCOUT, SMOLLM), strict=True):
        model["fallbacks"] = [other]
    return wanted


@dataclass(frozen=True, slots=True)
class Real:
    """A running herd and what it was before anything was sent to it."""

    herd: Herd
    port: int
    gateway: psutil.Process
    engines: Mapping[str, frozenset[str]]
    """Replicas that took requests, by model."""

    @classmethod
    def of(cls, herd: Herd) -> "Real":
        """A herd as it is now."""
        port = int(herd.endpoint.rpartition(":")[2])
        return cls(herd, port, listener(port), ready(herd))

    @property
    def rss_mib(self) -> float:
        """The gateway's memory."""
        return float(self.gateway.memory_info().rss) / (1 << 20)

    def tried(self, case: Case) -> list[str]:
        """Sends a case; what is wrong with its answer or with the herd after it."""
        before = self.rss_mib
        answer = send(self.port, case)
        return [*complaints(case, answer), *self.harm(case.models, before)]

    def harm(self, models: tuple[str, ...], before_mib: float) -> Iterator[str]:
        """What is not as it was: an engine that is gone, a model that does not answer, memory that does not come back."""
        for model in models:
            answer = alive(self.port, model)
            if answer.status != 200:
                yield f"{model} answers an honest request with {answer.status} {answer.trouble}{answer.body[:200]!r}"
        now = ready(self.herd)
        yield from (
            f"{model}: {sorted(ids - now.get(model, frozenset()))} are gone"
            for model, ids in self.engines.items()
            if ids - now.get(model, frozenset())
        )
        if not self.gateway.is_running():
            yield "the gateway is gone"
        elif self.rss_mib > before_mib + GROWTH_MIB and not self._settles(before_mib):
            yield f"the gateway's memory went from {before_mib:.0f} to {self.rss_mib:.0f} MiB"

    def _settles(self, before_mib: float) -> bool:
        """Memory may come back a little later than the answer."""
        for _ in range(50):
            if self.rss_mib <= before_mib + GROWTH_MIB:
                return True
            time.sleep(0.1)
        return False

    @property
    def lost(self) -> int:
        """Engines that are not there any more."""
        now = ready(self.herd)
        return sum(len(ids - now.get(model, frozenset())) for model, ids in self.engines.items())


def ready(herd: Herd) -> dict[str, frozenset[str]]:
    """The replicas that take requests, by model."""
    return {model: frozenset(one["id"] for one in herd.replicas(model)) for model in MODELS}


def alive(port: int, model: str) -> Answer:
    """A model's answer to an honest request for one token, which nobody else answers in its place."""
    body = smallest(COMPLETIONS, model)
    return send(port, Case("alive", "", text(body), COMPLETIONS, headers=(("x-fallback", "off"),), within_s=60))
