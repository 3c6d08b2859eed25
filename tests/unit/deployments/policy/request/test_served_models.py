"""`deployments.policy.request.served_models`: a name finds its model, and the world is told the truth about it."""

import json
from typing import Any

import pytest
from hypothesis import given

from configs.schema import Config
from deployments.policy.errors.client_errors import BadRequest, TooManyImages, UnknownModel
from deployments.policy.request.served_models import catalog
from tests.unit.samples import model, raw, scout

HERD = catalog([scout(aliases=["llama4"]), model(id="b")], created=1)


@pytest.mark.parametrize(("name", "found"), [("scout", "scout"), ("llama4", "scout"), ("b", "b")])
def test_name_or_alias_finds_the_model(name: str, found: str) -> None:
    assert HERD.choose({"model": name}).id == found


@pytest.mark.parametrize("name", [None, "", 7, ["scout"], {"id": "scout"}])
def test_request_without_a_name_is_told_the_names(name: object) -> None:
    with pytest.raises(BadRequest, match="'model' must name one of: scout, b") as refused:
        HERD.check_name(name)
    assert refused.value.param == "model"


def test_unknown_name_is_told_the_names() -> None:
    with pytest.raises(UnknownModel, match=r"'Scout' does not exist\. Known models: scout, b"):
        HERD.check_name("Scout")


def test_objective_of_first_tokens_is_the_configs_or_the_usual_one() -> None:
    named, usual = catalog([scout(slo={"ttft_s": 0.5}), model(id="b")], created=1).models
    assert (named.ttft_s, usual.ttft_s) == (0.5, 3.0)


def test_card_of_a_model_that_reads_images() -> None:
    assert HERD.choose({"model": "scout"}).card == {
        "id": "scout",
        "object": "model",
        "created": 1,
        "owned_by": "llama-herd",
        "max_model_len": 131072,
        "aliases": ["llama4"],
        "kind": "llama-4-scout",
        "title": "Llama 4 Scout (17B active, 16 experts)",
        "modalities": ["text", "image"],
        "max_images_per_prompt": 5,
        "languages": ["ar", "en", "fr", "de", "hi", "id", "it", "pt", "es", "tl", "th", "vi"],
        "license": "Llama 4 Community License",
        "attribution": "Built with Llama",
    }


def test_card_shows_no_images_where_the_config_allows_none() -> None:
    served = catalog([scout(images_per_prompt=0)], created=1).choose({"model": "scout"})
    assert (served.images_per_prompt, served.card["modalities"], served.card["max_images_per_prompt"]) == (0, ["text"], 0)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
SHORT = model(id="short", context_tokens=1000)
LONG = scout(id="long", context_tokens=100_000)
ANY = catalog([SHORT, LONG, model(id="last", context_tokens=50_000)], created=1, auto=["short", "last", "long"])


def auto(letters: int = 4, images: int = 0, **more: int) -> dict[str, Any]:
    content = [{"type": "text", "text": "x" * letters}, *[IMAGE] * images]
    return {"model": "auto", "messages": [{"role": "user", "content": content}], **more}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (auto(), "short"),
        (auto(letters=8000), "last"),  # 2,000 tokens, about
        (auto(max_tokens=2000), "last"),
        (auto(max_completion_tokens=60_000), "long"),
        (auto(images=1), "long"),
        (auto(images=5), "long"),
        (auto(letters=4_000_000), "long"),  # too long for all: its engine says by how much
        ({"model": "auto", "input": "x" * 8000, "max_output_tokens": 1}, "last"),
        ({"model": "auto", "prompt": [1, 2, 3]}, "short"),
        ({"model": "auto", "max_tokens": "many"}, "short"),  # its engine says what is wrong with that
    ],
)
def test_auto_means_the_first_model_that_takes_the_request(body: dict[str, Any], found: str) -> None:
    assert ANY.choose(body).id == found


def test_auto_says_how_many_images_the_most_able_model_takes() -> None:
    with pytest.raises(TooManyImages, match="has 6 images, but the model 'long' takes at most 5"):
        ANY.choose(auto(images=6))


def test_auto_is_listed_where_it_is_served_and_unknown_elsewhere() -> None:
    assert list(ANY.cards) == ["short", "long", "last", "auto"]
    assert ANY.cards["auto"]["chooses_from"] == ["short", "last", "long"]
    assert ANY.cards["auto"].keys() == ANY.cards["short"].keys() | {"chooses_from"}
    assert ANY.cards["auto"]["modalities"] == ["text", "image"]
    assert ANY.cards["auto"]["attribution"] == "Built with Llama"
    assert (ANY.cards["auto"]["max_model_len"], ANY.cards["auto"]["max_images_per_prompt"]) == (100_000, 5)
    with pytest.raises(UnknownModel, match=r"'auto' does not exist\. Known models: scout, b\.$"):
        HERD.check_name("auto")


def test_fallbacks_are_those_that_take_the_request_too() -> None:
    declared = catalog([model(id="first", fallbacks=["short", "long"]), SHORT, LONG], created=1)
    first = declared.choose({"model": "first"})
    assert [(one.model.id, one.instead_of) for one in declared.in_place_of(first, auto())] == [("short", "first"), ("long", "first")]
    assert [one.model.id for one in declared.in_place_of(first, auto(images=2))] == ["long"]
    assert declared.in_place_of(first, auto(images=6)) == ()
    assert declared.in_place_of(declared.choose({"model": "short"}), auto()) == ()


@given(raw(Config))
def test_every_name_of_a_config_finds_its_model_and_every_card_is_json(value: dict[str, Any]) -> None:
    models = Config.model_validate(value).models
    found = catalog(models, created=1)
    assert [one.id for one in found.models] == [one.id for one in models]
    assert all(found.choose({"model": name}).id == one.id for one in models for name in (one.id, *one.aliases))
    assert len(found.by_name) == sum(1 + len(one.aliases) for one in models)
    json.dumps([dict(one.card) for one in found.models])


def test_aliases_are_listed_with_the_id_that_they_stand_for() -> None:
    listed = {card["id"]: card for card in HERD.listed}
    assert list(listed) == ["scout", "b", "llama4"]
    assert (listed["llama4"]["root"], listed["llama4"]["parent"], listed["llama4"]["max_model_len"]) == ("scout", "scout", 131072)


def test_vocabulary_is_that_of_the_model_s_shape() -> None:
    assert [served.vocabulary for served in HERD.models] == [202_048, 128_256]


def test_name_is_known_before_the_rest_is() -> None:
    for name in ("scout", "llama4"):
        HERD.check_name(name)
    ANY.check_name("auto")
    with pytest.raises(UnknownModel):
        HERD.check_name("auto")
