"""Says how a gateway chooses an engine replica: by which policy, and with which weight for each reason."""

from typing import Literal

from pydantic import Field

from configs.strict import Strict

RoutingPolicy = Literal["herd", "prefix", "least_loaded", "power_of_two", "round_robin"]


class RoutingWeights(Strict):
    """Weighs each reason to pick a replica, for the policy `herd`. Each reason is a score from 0 to 1, and the scores are added up.

    `prefix` and `queue` are measured in the same prompt tokens. At equal weights the replica wins that begins its answer first. The
    default stays with the tokens that a replica remembers, until waiting elsewhere is shorter by thirty times these tokens: a prompt that
    moves takes room from others in a second cache. On the replay of a trace this costs no time to the first token, and finds a fifth more.
    `balance` bounds the crowd at a prefix that everybody shares, and must be as heavy.
    """

    prefix: float = Field(30.0, ge=0, le=1000, description="This weighs the beginning of the prompt that a replica has in its cache.")
    queue: float = Field(1.0, ge=0, le=1000, description="This weighs how little a replica has to compute before the prompt.")
    kv: float = Field(0.1, ge=0, le=1000, description="This weighs the room for the prompt in a replica's KV cache.")
    balance: float = Field(30.0, ge=0, le=1000, description="This weighs that a replica has not much more than its share of the requests.")
    session: float = Field(
        0.05, ge=0, le=1000, description="This weighs that a replica is the home of the session, or of a prompt that is new."
    )
    room: float = Field(
        0.3, ge=0, le=1000, description="This weighs how long ago the tokens were used that a replica's prefix cache would forget."
    )
    warm_up: float = Field(0.1, ge=0, le=1000, description="This weighs that a replica has not just started.")
    trust: float = Field(0.5, ge=0, le=1000, description="This weighs that a replica has reported lately.")


class Routing(Strict):
    """Says which engine replica serves a request."""

    policy: RoutingPolicy = Field(
        "herd",
        description="Replicas are chosen by this policy. `herd` adds up scores by the `weights`, and the others are simple ones to "
        "compare with.",
    )
    weights: RoutingWeights = Field(RoutingWeights(), description="The policy `herd` weighs its scores so.")
    index_tokens: int = Field(
        4_000_000,
        ge=0,
        le=1 << 30,
        description="A gateway remembers at most this many prompt tokens for each replica, and fewer if the replica's KV cache is smaller.",
    )
