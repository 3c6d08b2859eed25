"""`deployments.policy.catalog`: a name finds its model, and the world is told the truth about it."""

import json
from typing import Any

import pytest
from hypothesis import given

from configs.schema import Config
from deployments.policy.catalog import catalog
from deployments.policy.errors import BadRequest, UnknownModel
from tests.unit.samples import model, raw, scout

HERD = catalog([scout(aliases=["llama4"]), model(id="b")], created=1)


@pytest.mark.parametrize(("name", "found"), [("scout", "scout"), ("llama4", "scout"), ("b", "b")])
def test_name_or_alias_finds_the_model(name: str, found: str) -> None:
    assert HERD.choose(name).id == found


@pytest.mark.parametrize("name", [None, "", 7, ["scout"], {"id": "scout"}])
def test_request_without_a_name_is_told_the_names(name: object) -> None:
    with pytest.raises(BadRequest, match="'model' must name one of: scout, b") as refused:
        HERD.choose(name)
    assert refused.value.param == "model"


def test_unknown_name_is_told_the_names() -> None:
    with pytest.raises(UnknownModel, match=r"'Scout' does not exist\. Known models: scout, b"):
        HERD.choose("Scout")


def test_card_of_a_model_that_reads_images() -> None:
    assert HERD.choose("scout").card == {
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
    served = catalog([scout(images_per_prompt=0)], created=1).choose("scout")
    assert (served.images_per_prompt, served.card["modalities"], served.card["max_images_per_prompt"]) == (0, ["text"], 0)


@given(raw(Config))
def test_every_name_of_a_config_finds_its_model_and_every_card_is_json(value: dict[str, Any]) -> None:
    models = Config.model_validate(value).models
    found = catalog(models, created=1)
    assert found.ids == tuple(one.id for one in models)
    assert all(found.choose(name).id == one.id for one in models for name in (one.id, *one.aliases))
    assert len(found.by_name) == sum(1 + len(one.aliases) for one in models)
    json.dumps([dict(one.card) for one in found.models])
