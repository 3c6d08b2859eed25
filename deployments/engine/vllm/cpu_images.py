"""One mend for vLLM 0.29 on CPU: an image of a single tile kills the engine.

`Llama4UnfoldConvolution` hands its linear layer a transposed view, and the CPU kernel demands rows that lie together ("onednn_mm: Expected
a.stride(-1) == 1"). GPUs are not touched. vLLM calls this in each of its processes, by the entry point `vllm.general_plugins`.
"""

from typing import Any


def mend() -> None:
    """Makes the rows lie together, on CPU only."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.model_executor.models import mllama4

    def forward(self: Any, hidden_states: Any) -> Any:  # noqa: ANN401 (tensors)
        return self.linear(self.unfold(hidden_states).permute(0, 2, 1).contiguous())[0]

    mllama4.Llama4UnfoldConvolution.forward = forward
