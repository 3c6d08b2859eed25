"""How a gateway chooses an engine replica: the policy, and what each reason is worth to it."""

from typing import Literal

from pydantic import Field

from configs.strict import Strict

RoutingPolicy = Literal["herd", "prefix", "least_loaded", "power_of_two", "round_robin"]


class RoutingWeights(Strict):
    """Weighs each reason to pick a replica, for the policy `herd`. Each reason is a score from 0 to 1, and the scores are added up.

    `prefix` and `queue` are measured in the same prompt tokens. At equal weights the replica wins that begins its answer first. The
    default stays with what a replica remembers until waiting elsewhere is shorter by thirty times the tokens: who moves a prompt takes
    room from others' in a second cache. On the replay of a trace this costs no time to the first token, and finds a fifth more. `balance`
    bounds the crowd at a prefix that everybody shares, and must be as heavy.
    """

    prefix: float = Field(30.0, ge=0, le=1000, description="It has the beginning of the prompt in its cache.")
    queue: float = Field(1.0, ge=0, le=1000, description="It has little to compute before.")
    kv: float = Field(0.1, ge=0, le=1000, description="Its KV cache has room for the prompt.")
    balance: float = Field(30.0, ge=0, le=1000, description="It has not much more than its share of the requests.")
    session: float = Field(0.05, ge=0, le=1000, description="It is the home of the session, or of a prompt that is new.")
    room: float = Field(0.3, ge=0, le=1000, description="What its prefix cache would forget has long not been used.")
    warm_up: float = Field(0.1, ge=0, le=1000, description="It has not just started.")
    trust: float = Field(0.5, ge=0, le=1000, description="It has been heard of lately.")


class Routing(Strict):
    """Which engine replica serves a request."""

    policy: RoutingPolicy = "herd"
    weights: RoutingWeights = RoutingWeights()
    index_tokens: int = Field(
        4_000_000,
        ge=0,
        le=1 << 30,
        description="Prompt tokens that a gateway remembers for each replica, at most; fewer where the replica's KV cache is smaller.",
    )
