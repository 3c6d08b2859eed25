"""`cluster.catalogue.architecture` and `cluster.catalogue.sizes`: the parts of the models add up to what is published."""

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import VisionTower, every


@pytest.mark.parametrize(("rows", "columns", "tokens"), [(1, 1, 147), (2, 2, 727), (4, 4, 2467), (16, 1, 2467), (1, 2, 437)])
def test_tokens_of_an_image_follow_its_tiles(rows: int, columns: int, tokens: int) -> None:
    """transformers, `processing_llama4.py`: 147 for one tile, else 145 for each and 147."""
    assert VisionTower().tokens_per_image(rows, columns) == tokens


def test_layers_are_counted_as_llama_4_does() -> None:
    assert every(8, 4) == (3, 7)
    assert (len(shapes.SCOUT.moe_layers), len(shapes.MAVERICK.moe_layers)) == (48, 24)
    assert (len(shapes.SCOUT.global_layers), len(shapes.SCOUT.chunked_layers)) == (12, 36)
    assert shapes.LLAMA_70B.chunked_layers == ()


def test_parts_add_up() -> None:
    for shape in (shapes.SCOUT, shapes.MAVERICK, shapes.SMOLLM2):
        layers = sum(sum(shape.layer_parameters(layer).values()) for layer in range(shape.layers))
        assert layers + sum(shape.outer_parameters().values()) == shape.total_parameters


def test_tied_head_is_stored_once_and_multiplied_with_all_the_same() -> None:
    assert shapes.SMOLLM2.parameters()["head"] == 0
    assert shapes.SMOLLM2.active_parameters == shapes.SMOLLM2.total_parameters


def test_prompt_guards_are_mostly_embedding() -> None:
    """Meta counts the 86M of the backbone; the file holds about 279M."""
    assert shapes.PROMPT_GUARD_86M.total_parameters == pytest.approx(279e6, rel=0.01)
    assert shapes.PROMPT_GUARD_22M.total_parameters == pytest.approx(70.8e6, rel=0.01)
