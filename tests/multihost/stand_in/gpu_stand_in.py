"""What vLLM 0.29's CPU backend lacks to stand in for GPUs on several hosts. Test equipment, in no package.

A folder for PYTHONPATH: its metadata has the entry points by which vLLM finds it in each of its processes. Four mends: a platform that Ray
can place by `{"GPU": 1}`; experts that are on another rank, of which the CPU kernel knows nothing (it takes their numbers for its own and
reads past its weights); and the two collectives of data-parallel attention with uneven rows, which the CPU communicator has not; and
workers that sleep while they wait for a step, where real ones spin, because a few cores are all hosts' here.
"""

import inspect
import time
from typing import Any

NAP_S = 0.0005


def platform() -> str:
    """The platform's class, by name: its module must not be imported before vLLM has chosen."""
    return "gpu_stand_in_platform.GpuStandIn"


def mend() -> None:
    """vLLM calls it in each of its processes, before it builds a model."""
    from vllm.distributed.device_communicators import shm_broadcast
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator
    from vllm.model_executor.layers.fused_moe.experts.cpu_moe import CPUUnquantizedExperts

    if not hasattr(CPUUnquantizedExperts, "stands_in"):
        CPUUnquantizedExperts.stands_in = True
        _know_absent_experts(CPUUnquantizedExperts)
        CpuCommunicator.all_gatherv, CpuCommunicator.reduce_scatterv = all_gatherv, reduce_scatterv
        shm_broadcast.SPINLOOP_EXT_ENABLED, shm_broadcast.sched_yield = False, nap


def nap() -> None:
    """In place of `sched_yield`."""
    time.sleep(NAP_S)


def _know_absent_experts(experts: Any) -> None:
    """An expert of another rank becomes this rank's first, with weight 0: Llama 4 weighs an expert's input, and SwiGLU(0) is 0."""
    apply, select = experts.apply, experts._select_experts
    called = inspect.signature(apply)

    def apply_here(self: Any, *rest: Any, **more: Any) -> Any:
        # For each expert its number on this rank, -1 where it is on another.
        self.here = called.bind(self, *rest, **more).arguments["expert_map"]
        return apply(self, *rest, **more)

    def select_here(self: Any, *rest: Any, **more: Any) -> Any:
        weights, numbers = select(self, *rest, **more)
        if (here := getattr(self, "here", None)) is not None:
            numbers = here[numbers.long()].to(numbers.dtype)
            absent = numbers < 0
            weights, numbers = weights.masked_fill(absent, 0.0), numbers.masked_fill(absent, 0)
        return weights, numbers

    experts.apply, experts._select_experts = apply_here, select_here


def all_gatherv(self: Any, input_: Any, dim: int = 0, sizes: list[int] | None = None) -> Any:
    """Every rank's rows, of which each may have another number; of one tensor or of several."""
    import torch
    import torch.distributed as dist

    if dim != 0:
        raise NotImplementedError("rows only")
    single = isinstance(input_, torch.Tensor)
    gathered = []
    for one in [input_] if single else input_:
        rows = sizes or [one.shape[0]] * self.world_size
        padded = one.new_zeros((max(rows), *one.shape[1:]))
        padded[: one.shape[0]] = one
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded, group=self.device_group)
        gathered.append(torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)]))
    return gathered[0] if single else gathered


def reduce_scatterv(self: Any, input_: Any, dim: int = -1, sizes: list[int] | None = None) -> Any:
    """The sum over all ranks, of which each keeps its own rows."""
    import torch.distributed as dist

    rows = sizes or [input_.shape[0] // self.world_size] * self.world_size
    total = input_.contiguous().clone()
    dist.all_reduce(total, group=self.device_group)
    start = sum(rows[: self.rank_in_group])
    return total[start : start + rows[self.rank_in_group]].contiguous()
