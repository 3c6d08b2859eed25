"""How one engine is spread over GPUs; a file of its own, as plans need it and nothing else of the schema."""

from typing import Any, Self

from pydantic import Field, model_validator

from configs.names import AllToAll
from configs.strict import Strict


class Parallelism(Strict):
    """Says how one engine is spread over GPUs."""

    auto: bool = Field(False, description="The planner chooses the sizes if this is true. `parallel: auto` says the same.")
    tensor: int = Field(1, ge=1, le=64, description="Each layer is split over this many GPUs (tensor parallel).")
    pipeline: int = Field(1, ge=1, le=64, description="The layers are divided into this many stages (pipeline parallel).")
    data: int = Field(1, ge=1, le=64, description="Attention runs on this many ranks, with a KV cache each and shared experts.")
    expert: bool = Field(False, description="Each GPU holds whole experts instead of a slice of each (expert parallel).")
    redundant_experts: int | None = Field(
        None,
        ge=0,
        le=1024,
        description="Each layer has this many more experts, copies of its busiest ones, and experts move to where there is room (EPLB). "
        "Default: experts stay where they are.",
    )
    all_to_all: AllToAll | None = Field(
        None, description="Tokens reach the experts on other data-parallel ranks by this method of vLLM's. Default: vLLM's own choice."
    )
    across_nodes: bool = Field(
        False,
        description="The GPUs that share a layer (`tensor`) may be on several nodes if this is true: each layer then waits for the network "
        "twice. Default: an engine that was placed so does not start.",
    )

    @model_validator(mode="before")
    @classmethod
    def _auto_is_a_word(cls, value: Any) -> Any:  # noqa: ANN401 (whatever the YAML says)
        return {"auto": True} if value == "auto" else value

    @model_validator(mode="after")
    def _chosen_by_one(self) -> Self:
        if self.auto and self != Parallelism.model_construct(auto=True):
            raise ValueError("give either auto or the sizes, not both")
        return self

    @property
    def gpus(self) -> int:
        """Returns the number of GPUs of one replica.

        Raises:
            ValueError: the planner has not chosen yet.
        """
        if self.auto:
            raise ValueError("parallel: auto has no size before the planner has chosen one")
        return self.tensor * self.pipeline * self.data
