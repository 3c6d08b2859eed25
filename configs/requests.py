"""Bounds the fields of a request to the gateway, and says which fields of other software are let through.

Decides numbers only; `deployments.policy.body.field_table` says which field each of them bounds.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from configs.strict import Strict

#: Fields that only the cluster itself may send to an engine, by the beginning or the end of their names.
CLUSTER_PREFIXES = ("herd_", "kv_")
CLUSTER_SUFFIX = "_transfer_params"

XargName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]


def is_the_clusters(name: str) -> bool:
    """Tells whether a field's name is kept for the cluster, whatever the config allows."""
    return name.startswith(CLUSTER_PREFIXES) or name.endswith(CLUSTER_SUFFIX)


class Requests(Strict):
    """Bounds of one request. A request that is over one of them is answered with 400 before an engine sees it."""

    choices: int = Field(8, ge=1, le=1024, description="A prompt may have this many answers (`n`, and the width of a beam search).")
    sequences: int = Field(128, ge=1, le=16_384, description="A request may have this many answers in all: its prompts times its choices.")
    pieces: int = Field(
        10_000, ge=1, le=1_000_000, description="A request may have this many messages, items, content parts and tool calls together."
    )
    inputs: int = Field(2048, ge=1, le=100_000, description="A request for embeddings may have this many texts.")
    tools: int = Field(128, ge=1, le=4096, description="A request may have this many tools.")
    logprobs: int = Field(20, ge=0, le=1024, description="A request may ask for this many log-probabilities for each token.")
    logit_bias: int = Field(
        300, ge=0, le=1024, description="A request may give this many tokens a bias. An engine with vLLM's newer runner takes 1024."
    )
    schema_kib: float = Field(64, gt=0, le=4096, description="A JSON schema, regular expression or grammar may have this many KiB.")
    schema_members: int = Field(4000, ge=1, le=100_000, description="A JSON schema may have this many members and elements in all.")
    enum_values: int = Field(1000, ge=1, le=100_000, description="A list in a JSON schema (`enum`, `required`) may have this many values.")
    optional_properties: int = Field(
        200,
        ge=1,
        le=100_000,
        description="An object in a JSON schema may have this many properties that are not in `required`, or half as many where it counts "
        "them.",
    )
    pattern_parts: int = Field(
        256,
        ge=1,
        le=1_000_000,
        description="The patterns, grammars and string lengths of a request may have this many parts together, each 1/64 s of a compiler's "
        "core: `.` is 2.5, `[a-z]` 0.4, `{m,n}` n of them, each different length over 128 is 64. So may its formats and ranges of numbers.",
    )
    tokenize_kib: float = Field(1024, gt=0, le=1 << 20, description="A text for `/tokenize` or `count_tokens` may have this many KiB.")
    structure: int = Field(100_000, ge=1000, le=100_000_000, description="A body may have this many lists, objects and strings.")
    text_mib: float = Field(
        16,
        gt=0,
        le=1024,
        description="A string in a body may have this many MiB. An image is a string that is a third longer than the image.",
    )
    unknown_fields: Literal["pass", "drop", "refuse"] = Field(
        "pass",
        description="Fields that the API does not have go on to the engine (`pass`), are left out (`drop`), or make the request a 400 "
        "(`refuse`).",
    )
    allowed_xargs: tuple[XargName, ...] = Field((), description="Clients may use these names under `vllm_xargs`. Default: none.")

    @model_validator(mode="after")
    def _no_name_of_the_clusters(self) -> Self:
        if own := [name for name in self.allowed_xargs if is_the_clusters(name)]:
            raise ValueError(f"allowed_xargs names {own[0]!r}, which only the cluster itself may send")
        return self
