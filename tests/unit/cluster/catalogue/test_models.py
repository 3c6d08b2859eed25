"""`cluster.catalogue.models`: the catalogue has every kind, and says what each cannot do."""

from typing import Any, get_args

import pytest
from hypothesis import given

from cluster.catalogue.entry import Entry
from cluster.catalogue.models import CATALOGUE, images_per_prompt
from cluster.planner.config_problems import model_problems
from configs.engine_arguments import ENGINE_ARGUMENTS, OWNED_BY_THE_HERD
from configs.names import Kind, Quantization
from configs.schema import MOST_IMAGES_PER_PROMPT, Model
from tests.unit.samples import model, raw, scout

SCOUT = "Llama 4 Scout (17B active, 16 experts)"
ENTRIES = pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)


def test_catalogue_has_just_the_kinds_of_the_schema() -> None:
    assert CATALOGUE.keys() == set(get_args(Kind))


@ENTRIES
def test_entry_agrees_with_itself(entry: Entry) -> None:
    assert ("image" in entry.modalities) == (entry.images_per_prompt > 0)
    assert entry.images_per_prompt <= MOST_IMAGES_PER_PROMPT
    assert entry.engine.keys() <= ENGINE_ARGUMENTS - OWNED_BY_THE_HERD.keys()
    assert entry.licence.attribution is None or entry.licence.attribution.startswith("Built with ")


@ENTRIES
def test_entry_has_what_it_takes_to_plan_and_to_serve(entry: Entry) -> None:
    assert (entry.decoder is None) == (entry.not_deployable is not None or entry is CATALOGUE["generic"])
    assert all(advice.reason for advice in entry.advice)
    assert entry.licence.attribution is None or entry.licence.duties
    repositories = [one.repository for one in entry.checkpoints]
    assert len(set(repositories)) == len(repositories)
    if entry.decoder:
        assert entry.context_tokens <= entry.decoder.max_positions
        assert entry.checkpoint("bf16") is not None
        assert (entry.decoder.vision is not None) == ("image" in entry.modalities)


@pytest.mark.parametrize("kind", ["llama-4-scout", "llama-4-maverick"])
def test_llama_4_comes_in_every_quantisation(kind: Kind) -> None:
    assert all(CATALOGUE[kind].checkpoint(word) for word in get_args(Quantization) if word != "int8")
    assert any(not one.instruct for one in CATALOGUE[kind].checkpoints)


def test_everything_of_meta_shows_what_its_licence_wants() -> None:
    assert {kind for kind, entry in CATALOGUE.items() if entry.licence.attribution is None} == {"smollm2-135m", "generic"}


@pytest.mark.parametrize("kind", [kind for kind, entry in CATALOGUE.items() if entry.not_deployable is None])
def test_whole_context_on_one_gpu_is_no_problem_of_the_kind(kind: Kind) -> None:
    assert not list(model_problems(model(kind=kind, context_tokens=CATALOGUE[kind].context_tokens)))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (model(kind="llama-4-behemoth"), {"kind": "Llama 4 Behemoth (288B active, announced) has not been released"}),
        (model(context_tokens=131_073), {"context_tokens": "131073 is more than Llama 3.1 8B can take (131072)"}),
        (model(images_per_prompt=1), {"images_per_prompt": "Llama 3.1 8B reads text only"}),
        (model(images_per_prompt=0), {}),
        (
            model(parallel={"tensor": 3}),
            {"parallel.tensor": "Llama 3.1 8B: 3 does not divide the 32 attention heads"},
        ),
        (model(parallel="auto"), {}),
        (model(kind="prompt-guard-2-86m", context_tokens=512), {"kind": "Llama Prompt Guard 2 86M is a DeBERTa classifier"}),
        (scout(checkpoint="meta-llama/Llama-4-Scout-17B-16E", context_tokens=300_000), {"context_tokens": "300000 is more than"}),
        (
            scout(checkpoint="RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"),
            {"quantization": "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16 stores int4, not bf16; write quantization: int4"},
        ),
        (model(parallel={"data": 2}), {"parallel.data": "Llama 3.1 8B: data-parallel attention only helps models with experts"}),
        (model(parallel={"expert": True}), {"parallel.expert": "Llama 3.1 8B: the model has no experts"}),
        (scout(parallel={"tensor": 8, "expert": True}), {}),
        (
            scout(parallel={"tensor": 3}),
            {"parallel.tensor": f"{SCOUT}: 3 does not divide the 40 attention heads"},
        ),
        (
            scout(parallel={"tensor": 16}),
            {"parallel.tensor": f"{SCOUT}: 16 does not divide the 40 attention heads; allowed: 1, 2, 4, 8"},
        ),
        (
            model(context_tokens=200_000, images_per_prompt=2, parallel={"expert": True}),
            {"context_tokens": "200000", "images_per_prompt": "Llama", "parallel.expert": "Llama"},
        ),
    ],
)
def test_problems(asked: Model, found: dict[str, str]) -> None:
    told = dict(model_problems(asked))
    assert told.keys() == found.keys()
    assert all(told[path].startswith(found[path]) for path in found)


@pytest.mark.parametrize(
    ("asked", "images"), [(model(), 0), (scout(), 5), (scout(images_per_prompt=0), 0), (scout(images_per_prompt=9), 9)]
)
def test_images_are_what_the_config_says_or_what_was_tested(asked: Model, images: int) -> None:
    assert images_per_prompt(asked) == images


@given(raw(Model))
def test_longer_context_cures_nothing(value: dict[str, Any]) -> None:
    asked = Model.model_validate(value)
    longer = asked.model_copy(update={"context_tokens": 2 * asked.context_tokens})
    assert {path for path, _ in model_problems(asked)} <= {path for path, _ in model_problems(longer)}


@pytest.mark.parametrize(
    ("checkpoint", "engine", "says"),
    [
        ("meta/llama@no..where", {}, "is no repository@revision"),
        ("meta/llama@main", {"revision": "v2"}, "names the revision 'main', engine.revision another one"),
        ("meta/llama@main", {"revision": "main"}, None),
        ("meta/llama@main", {}, None),
        ("/models/llama@home", {}, None),
    ],
)
def test_a_checkpoint_names_one_revision(checkpoint: str, engine: dict[str, str], says: str | None) -> None:
    found = [str(one) for one in model_problems(model(checkpoint=checkpoint, engine=engine)) if "revision" in str(one)]
    assert found == [] if says is None else says in found[0]


def test_another_models_checkpoint_is_stored_as_trained_where_nobody_says_more() -> None:
    assert CATALOGUE["generic"].layout("fp8").name == "bf16"
