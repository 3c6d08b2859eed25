"""Every engine that can be planned, for laws."""

from typing import get_args

from hypothesis import strategies as st

from cluster.catalogue.checkpoints import BF16, LINEAR_FP8, LINEAR_INT4, LINEAR_NVFP4, META_FP8, MLP_FP8, MLP_INT4
from cluster.catalogue.hardware import GPUS
from cluster.catalogue.models import CATALOGUE
from cluster.planner.legality import refusals
from cluster.planner.memory.engine import Engine, Settings
from configs.names import GpuName
from configs.schema import Parallelism

DECODERS = [entry.decoder for entry in CATALOGUE.values() if entry.decoder]
LAYOUTS = (BF16, META_FP8, MLP_FP8, LINEAR_FP8, MLP_INT4, LINEAR_INT4, LINEAR_NVFP4)
SIZES = st.sampled_from((1, 2, 3, 4, 8, 16))


@st.composite
def engines(draw: st.DrawFn) -> Engine:
    """A legal engine, whether it fits or not."""
    shape = draw(st.sampled_from(DECODERS))
    parallel = draw(st.builds(Parallelism, tensor=SIZES, pipeline=SIZES, data=SIZES, expert=st.booleans()))
    if any(refusals(shape, parallel)):
        parallel = Parallelism()
    settings = Settings(
        context_tokens=draw(st.integers(16, shape.max_positions)),
        kv_dtype=draw(st.sampled_from(("bf16", "fp8", "float32"))),
        hybrid_kv=draw(st.booleans()),
        gpu_memory_utilization=draw(st.floats(0.5, 1)),
        max_num_seqs=draw(st.none() | st.integers(1, 2048)),
        max_num_batched_tokens=draw(st.none() | st.integers(256, 16_384)),
    )
    gpu = GPUS[draw(st.sampled_from(get_args(GpuName)))]
    return Engine(shape, draw(st.sampled_from(LAYOUTS)), gpu, parallel, settings)
