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

    choices: int = Field(8, ge=1, le=1024, description="Answers to one prompt (`n`, and the width of a beam search), at most.")
    sequences: int = Field(128, ge=1, le=16_384, description="Answers of one request in all, at most: its prompts times its choices.")
    pieces: int = Field(10_000, ge=1, le=1_000_000, description="Messages, items, content parts and tool calls of one request, together.")
    inputs: int = Field(2048, ge=1, le=100_000, description="Texts of one embeddings request, at most.")
    tools: int = Field(128, ge=1, le=4096, description="Tools of one request, at most.")
    logprobs: int = Field(20, ge=0, le=1024, description="Log-probabilities for each token, at most.")
    logit_bias: int = Field(300, ge=0, le=1024, description="Tokens with a bias, at most. An engine with vLLM's newer runner takes 1024.")
    schema_kib: float = Field(64, gt=0, le=4096, description="Size of one JSON schema, regular expression or grammar, at most.")
    schema_members: int = Field(4000, ge=1, le=100_000, description="Members and elements of one JSON schema in all, at most.")
    enum_values: int = Field(1000, ge=1, le=100_000, description="Values of one list in a JSON schema (`enum`, `required`), at most.")
    tokenize_kib: float = Field(1024, gt=0, le=1 << 20, description="Text that `/tokenize` and `count_tokens` take, at most.")
    structure: int = Field(100_000, ge=1000, le=100_000_000, description="Lists, objects and strings in one body, at most.")
    text_mib: float = Field(16, gt=0, le=1024, description="One string in a body, at most. An image is a string, a third longer than it.")
    unknown_fields: Literal["pass", "drop", "refuse"] = Field(
        "pass", description="A field that the API does not have goes on to the engine, is left out, or makes the request a 400."
    )
    allowed_xargs: tuple[XargName, ...] = Field((), description="Names under `vllm_xargs` that clients may use. Default: none.")

    @model_validator(mode="after")
    def _no_name_of_the_clusters(self) -> Self:
        if own := [name for name in self.allowed_xargs if is_the_clusters(name)]:
            raise ValueError(f"allowed_xargs names {own[0]!r}, which only the cluster itself may send")
        return self
