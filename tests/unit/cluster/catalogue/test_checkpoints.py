"""`cluster.catalogue.checkpoints`: bytes of every layout, of what the catalogue knows."""

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import (
    BF16,
    LINEAR_FP8,
    LINEAR_INT4,
    LINEAR_NVFP4,
    META_405B_FP8,
    META_FP8,
    MLP_FP8,
    MLP_INT4,
    Layout,
    decoder_bytes,
)
from cluster.catalogue.hardware import GIB
from cluster.catalogue.models import CATALOGUE


@pytest.mark.parametrize(
    ("shape", "layout", "gib"),
    [
        (shapes.SCOUT, BF16, 202.4),
        (shapes.MAVERICK, BF16, 748.0),
        (shapes.MAVERICK, META_FP8, 388.0),
        (shapes.SCOUT, MLP_FP8, 106.7),
        (shapes.SCOUT, MLP_INT4, 60.4),
        (shapes.SCOUT, LINEAR_NVFP4, 60.8),
        (shapes.LLAMA_70B, LINEAR_FP8, 67.7),
        (shapes.LLAMA_405B, META_405B_FP8, 453.8),
    ],
)
def test_bytes_of_a_checkpoint(shape: Architecture, layout: Layout, gib: float) -> None:
    assert layout.weight_bytes(shape) / GIB == pytest.approx(gib, rel=0.002)


@pytest.mark.parametrize("shape", [entry.decoder for entry in CATALOGUE.values() if entry.decoder], ids=lambda shape: str(shape.hidden))
@pytest.mark.parametrize(
    ("coarser", "finer"),
    [
        (BF16, META_FP8),
        (META_FP8, MLP_FP8),
        (MLP_FP8, LINEAR_FP8),
        (LINEAR_FP8, LINEAR_NVFP4),
        (LINEAR_NVFP4, LINEAR_INT4),
        (MLP_FP8, MLP_INT4),
    ],
)
def test_finer_quantisation_never_needs_more(shape: Architecture, coarser: Layout, finer: Layout) -> None:
    assert finer.weight_bytes(shape) <= coarser.weight_bytes(shape)


def test_edges_of_metas_405b_stay_in_bf16() -> None:
    outer, inner = (sum(decoder_bytes(shapes.LLAMA_405B, META_405B_FP8, range(at, at + 1)).values()) for at in (0, 1))
    assert outer == sum(decoder_bytes(shapes.LLAMA_405B, BF16, range(1)).values()) > inner
