"""A short all-reduce between two nodes: what crosses the wire, and how fast. Runs in a Ray actor on each of the two.

Decides how much is sent: enough that the network counts, and little enough to be over in seconds beside a herd that serves. NCCL where
both nodes have GPUs, one rank per GPU after the other, so that each network card of a node is tried; gloo where not.
"""

import socket
import time
from datetime import timedelta
from typing import Any

from deployments.wire.sockets import listen

GLOO_BYTES = 16 << 20
NCCL_BYTES = 256 << 20
TIMES = 3
#: For one step of the two to meet, or for one all-reduce.
STEP = timedelta(seconds=60)


class Partner:
    """One of the two."""

    def __init__(self) -> None:
        """Both call `all_reduce` with what one of them got from `meet`."""
        self._store: Any = None

    def meet(self, address: str) -> tuple[str, int]:
        """Opens a place to meet at, on the node's own address only."""
        from torch.distributed import TCPStore

        listener: socket.socket = listen(address, 0)
        port: int = listener.getsockname()[1]
        # The store takes the socket over, and would listen on all interfaces if it opened one itself.
        self._store = TCPStore(
            address, port, 2, is_master=True, timeout=STEP, wait_for_workers=False, master_listen_fd=listener.detach(), use_libuv=True
        )
        return address, port

    def all_reduce(self, rank: int, place: tuple[str, int]) -> tuple[str, float]:
        """Reduces with the other one.

        Returns:
            The backend, and GB/s on the slowest GPU.

        Raises:
            RuntimeError: the two did not meet, or the sum was wrong.
        """
        import torch
        from torch.distributed import TCPStore

        store = self._store if rank == 0 else TCPStore(*place, 2, is_master=False, timeout=STEP)
        store.set(f"gpus-{rank}", str(torch.cuda.device_count()))
        gpus = min(int(store.get(f"gpus-{one}")) for one in range(2))
        rates = [_measured(store, rank, gpu) for gpu in (range(gpus) if gpus else [None])]
        # Rank 0 holds the store, so both wait until both are done; where one fails, whoever asked ends both.
        store.set(f"done-{rank}", "yes")
        store.get(f"done-{1 - rank}")
        return ("nccl" if gpus else "gloo"), min(rates)


def _measured(store: Any, rank: int, gpu: int | None) -> float:  # noqa: ANN401 (torch.distributed.Store)
    import torch
    from torch import distributed

    device = torch.device("cpu") if gpu is None else torch.device("cuda", gpu)
    prefix = distributed.PrefixStore(f"on-{device}", store)
    distributed.init_process_group(
        "gloo" if gpu is None else "nccl",
        store=prefix,
        rank=rank,
        world_size=2,
        timeout=STEP,
        **({} if gpu is None else {"device_id": device}),
    )
    try:
        numbers = torch.full(((GLOO_BYTES if gpu is None else NCCL_BYTES) // 4,), float(rank + 1), device=device)
        distributed.all_reduce(numbers)  # the first one also connects
        if not bool((numbers == 3).all()):
            raise RuntimeError(f"the sum is wrong on {device}")
        return float(TIMES * numbers.nbytes / _seconds(numbers) / 1e9)
    finally:
        distributed.destroy_process_group()


def _seconds(numbers: Any) -> float:  # noqa: ANN401 (torch.Tensor)
    import torch
    from torch import distributed

    on_gpu = numbers.is_cuda
    if on_gpu:
        torch.cuda.synchronize(numbers.device)
    began = time.perf_counter()
    for _ in range(TIMES):
        distributed.all_reduce(numbers)
    if on_gpu:
        torch.cuda.synchronize(numbers.device)
    return time.perf_counter() - began
