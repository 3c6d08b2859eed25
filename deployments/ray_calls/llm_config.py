"""`ray.serve.llm`'s config of an engine: what it takes from the Hub, and how it is told to take that from folders. In a replica only.

Decides nothing. The names below `LLMConfig` are Ray's own and not documented; only this file knows them.
"""

from collections.abc import Mapping
from typing import Any


def checkpoint_of(llm_config: Any) -> str | None:  # noqa: ANN401 (ray.serve.llm.LLMConfig)
    """Returns the engine's checkpoint; None where Ray is to fetch it from a bucket."""
    source = llm_config.model_loading_config.model_source
    return source if isinstance(source, str) else None


def fetch_from_buckets_only(llm_config: Any) -> None:  # noqa: ANN401 (as above)
    """Keeps Ray from starting a process on each node that imports vLLM (10 s of CPU), only to find nothing to download."""
    llm_config.get_or_create_callback().ctx.run_init_node = llm_config.get_engine_config().mirror_config is not None


def take_from_folders(llm_config: Any, folders: Mapping[str, str]) -> None:  # noqa: ANN401 (as above)
    """Has the engine read what it takes from the Hub from these folders.

    Args:
        llm_config: changed in place.
        folders: by what they are for: `checkpoint`, `tokenizer`, `draft`.
    """
    if "checkpoint" in folders:
        llm_config.get_engine_config().hf_model_id = folders["checkpoint"]  # what Ray sets where it has downloaded something itself
    if "tokenizer" in folders:
        llm_config.update_engine_kwargs(tokenizer=folders["tokenizer"])
    if "draft" in folders:
        llm_config.update_engine_kwargs(speculative_config={**llm_config.engine_kwargs["speculative_config"], "model": folders["draft"]})
