"""`cluster.planner.engine_groups`: a model whose prefill is apart is two groups of engines, and both hand over."""

import pytest
from pydantic import ValidationError

from cluster.planner.engine_groups import KV_TRANSFER, model_of, only_prefills, pools, prefill_of
from tests.unit.samples import config, model, scout


def test_a_model_without_is_what_it_was() -> None:
    assert pools([model(), scout()]) == (model(), scout())


def test_engines_that_only_prefill_are_a_model_of_their_own_without_its_names() -> None:
    asked = scout(
        aliases=["s"],
        fallbacks=["llama"],
        scaling={"min_replicas": 2, "max_replicas": 4},
        prefill={"replicas": 3, "parallel": {"tensor": 2}},
    )
    decode, prefill = pools([asked])
    assert (decode.id, decode.scale, decode.aliases, only_prefills(decode)) == ("scout", asked.scale, ("s",), False)
    assert (prefill.id, prefill.scale.min_replicas, prefill.scale.max_replicas) == ("scout:prefill", 3, 3)
    assert (prefill.aliases, prefill.fallbacks, prefill.prefill, prefill.parallel.tensor) == ((), (), None, 2)
    assert only_prefills(prefill)
    assert (prefill_of(decode.id), model_of(prefill.id), model_of(decode.id)) == (prefill.id, decode.id, decode.id)
    assert decode.engine == prefill.engine == {"disable_hybrid_kv_cache_manager": True, "kv_transfer_config": KV_TRANSFER}


def test_the_shape_is_the_models_own_where_none_is_said_and_what_the_config_says_of_the_engine_counts() -> None:
    decode, prefill = pools(
        [scout(parallel={"tensor": 4}, prefill={}, engine={"max_num_seqs": 8, "disable_hybrid_kv_cache_manager": False})]
    )
    assert prefill.parallel == decode.parallel
    assert prefill.engine["max_num_seqs"] == 8
    assert prefill.engine["disable_hybrid_kv_cache_manager"] is False


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"prefill": {"parallel": "auto"}}, "give the sizes"),
        ({"prefill": {}, "engine": {"kv_transfer_config": {}}}, "take kv_transfer_config out of engine"),
        ({"prefill": {"replicas": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_told(said: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        scout(**said)


def test_no_model_of_a_config_is_called_like_them() -> None:
    for names in ({"id": "scout:prefill"}, {"aliases": ["scout:prefill"]}):
        with pytest.raises(ValidationError, match="reserved for engines that only compute prompts"):
            config(scout(**names))
