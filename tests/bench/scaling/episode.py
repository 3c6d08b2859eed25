"""The episode that llm-d published for its SLO-aware scaling: Qwen3-32B on two H100s each, and a load that goes up and down.

From llm-d/llm-d, `guides/workload-autoscaling/README.slo-aware.md` and `slo-aware/benchmark-templates` (July 2026): about 4,000 tokens
in and 1,000 out; 2 requests a second for 330 s, then 4, 6, 8, 10 and 4 for 360 s each, then 1 for 300 s: 12,480 requests. Bounds of 3 and
8 replicas, objectives of 3 s to the first token and 100 ms between tokens, a start of about 100 s. Theirs kept both for 95.8 % of the
requests with 5.93 replicas on average; 8 static ones for 100 %.
"""

from collections.abc import Iterator
from random import Random

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16
from cluster.catalogue.hardware import GPUS
from cluster.planner.memory.engine import Engine, Settings
from cluster.scaling.work import Slo
from configs.schema import Limits, Parallelism
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import StepTimes
from deployments.simulation.fleet import Pool, StartTimes
from deployments.simulation.loads.traces import Traced
from deployments.simulation.setup import Setup

#: `config.json` of Qwen/Qwen3-32B.
QWEN3_32B = Architecture(64, 5120, 64, 8, 128, 151_936, 25_600, 40_960)
ENGINE = Engine(QWEN3_32B, BF16, GPUS["H100"], Parallelism(tensor=2), Settings(40_960))
#: Their published capacity, 1.4 to 1.5 requests a second within the band of 0.40 to 0.55, wants decode steps that are so much faster than
#: the planner's; its arithmetic is theirs already: 15.9k prompt tokens a second. Fitted once, on a single replica, and not on the episode.
DECODE = 0.58
TIMES = StepTimes(ENGINE, DECODE)
SLO = Slo(3.0, 0.1, 0.9)
LEAST, MOST = 3, 8
STAGES = ((2, 330), (4, 360), (6, 360), (8, 360), (10, 360), (4, 360), (1, 300))
#: Theirs is scored until the pool is back at its floor after the load: 60 s after its end here.
SECONDS = 2430 + 60
#: 0.95 of 2 × 80 GiB, less 65.5 GB of weights and 6 GB for activations, over 262 kB a token.
KV_TOKENS = 347_000


def requests(seed: int) -> Iterator[Traced]:
    """The load: evenly spaced, and lengths of normal distributions within bounds, all as `scored-config.yml` says."""
    dice = Random(seed)
    begin_s = 0.0
    for rate, seconds in STAGES:
        for number in range(rate * seconds):
            prompt = min(4500, max(3500, round(dice.gauss(4000, 300))))
            yield Traced(begin_s + number / rate, prompt, min(1100, max(900, round(dice.gauss(1000, 80)))), ())
        begin_s += seconds


def setup(start_s: float = 100.0) -> Setup:
    """The cluster. Their router lets everything into the engines, so nothing waits outside."""
    return Setup(
        Size(KV_TOKENS, 512, 8192, 1024),
        TIMES,
        Pool(StartTimes((("start", start_s),), 0.1), gpus_per_replica=2),
        LEAST,
        MOST,
        LEAST,
        limits=Limits(queue_s=3600, queue_requests=100_000),
        tells_slots=False,
        reports_s=1.0,
        until_s=SECONDS,
    )
