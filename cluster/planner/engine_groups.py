"""The groups of like engines that a herd consists of: one for each model, and a second where prefill and decode are apart.

Decides what engines of both kinds are told beyond what the config says. A group is described as a model of its own, so that whatever
deploys, plans, watches or replaces a model does the same for engines that only compute prompts.
"""

from collections.abc import Iterable

from configs.schema import PREFILL, Model, Scaling

#: What hands the KV cache from one engine to the other. Either may compute what did not arrive: a lost engine costs time, and no answer.
KV_TRANSFER = {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_load_failure_policy": "recompute"}


def pools(models: Iterable[Model]) -> tuple[Model, ...]:
    """Every group of engines, those of a model before those that compute prompts for it. A model that is stopped has none."""
    return tuple(pool for model in models if not model.stopped for pool in _pools(model))


def prefill_of(model: str) -> str:
    """Returns the name of the group that computes prompts for a model."""
    return f"{model}{PREFILL}"


def model_of(pool: str) -> str:
    """The model that a group belongs to."""
    return pool.removesuffix(PREFILL)


def only_prefills(pool: Model) -> bool:
    """Clients never ask this group: it computes prompts for another."""
    return pool.id.endswith(PREFILL)


def _pools(model: Model) -> tuple[Model, ...]:
    if model.prefill is None:
        return (model,)
    count = model.prefill.replicas
    # NIXL hands over whole lists of blocks; of chunked layers the hybrid KV manager has kept only the last ones (vLLM 0.29).
    engine = {"disable_hybrid_kv_cache_manager": True, "kv_transfer_config": KV_TRANSFER} | model.engine
    own = {
        "id": prefill_of(model.id),
        "aliases": (),
        "fallbacks": (),
        "prefill": None,
        "replicas": None,
        "scaling": Scaling(min_replicas=count, max_replicas=count, priority=model.scale.priority),
        "parallel": model.prefill.parallel or model.parallel,
    }
    decode = model.model_copy(update={"engine": engine})
    return decode, decode.model_copy(update=own)
