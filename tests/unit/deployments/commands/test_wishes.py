"""Wishes as people put them: each gets a plan, or a refusal with the nearest that can be had."""

import pytest

from tests.unit.deployments.commands.test_plan import run

FIT = [
    "llama-3.1-8b --gpu A10G --gpus 1",
    "llama-3.1-8b --gpu L4 --gpus 1 --context 8K",
    "llama-3.1-8b --gpu A6000 --gpus 1",
    "llama-3.1-8b --gpu RTX3090 --gpus 1",
    "llama-3.1-8b --gpu RTX3090 --gpus 1 --kv-dtype fp8",
    "llama-3.3-70b --gpu RTX5090 --gpus 4 --quantization int4",
    "llama-3.3-70b --gpu NVIDIA-RTX-PRO-6000-Blackwell-Server-Edition --gpus 1 --quantization fp8",
    "llama-4-scout --gpu H100-NVL --gpus 2 --quantization fp8",
    "llama-3.3-70b --gpu GH200 --gpus 1 --quantization fp8",
    "llama-3.1-8b --gpu GB10 --gpus 1",
    "llama-4-scout --gpu GB10 --gpus 1 --quantization nvfp4",
    "llama-4-scout --gpu H20 --gpus 8",
    "llama-3.3-70b --gpu A40 --gpus 4",
    "llama-3.1-405b --gpu A40 --gpus 4 --nodes 4 --tensor 16 --quantization int4",
    "llama-4-maverick --gpu B300",
    "llama-4-maverick --gpu GB200 --quantization nvfp4",
    "llama-4-maverick --gpu MI325X",
    "llama-3.1-8b --gpus 1 --engine max_num_batched_tokens=2048",
    "llama-3.1-8b --gpus 1 --engine enforce_eager=true",
    "llama-3.1-8b --gpus 1 --engine enable_lora=true --engine max_loras=8 --engine max_lora_rank=64",
    "llama-3.1-70b --gpus 1 --engine cpu_offload_gb=80",
    "llama-3.1-70b --gpus 2 --engine quantization=fp8",
    "llama-3.1-8b --gpus 1 --engine dtype=float32",
    "llama-3.1-8b --gpus 1 --engine block_size=32",
    "llama-4-scout --gpus 4 --engine language_model_only=true",
    "llama-3.1-8b --quantization fp8 --gpus 1",
    "llama-3.1-8b --quantization int4 --gpu L4 --gpus 1",
    "llama-3.1-70b --quantization int4 --gpu L40S --gpus 1",
    "llama-3.1-405b --quantization int4 --gpus 4",
    "llama-guard-3-8b --quantization int8 --gpu A10G --gpus 1",
    "llama-guard-4-12b --quantization int8 --gpu L40S --gpus 1",
    "llama-guard-4-12b --quantization int8 --gpu A10G --gpus 1 --context 4K",
    "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4 --gpu L40S --gpus 1",
    "bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M --gpu A100 --gpus 1",
    "NousResearch/Hermes-3-Llama-3.1-8B --gpu RTX4090 --gpus 1",
    "llama-3.2-3b --gpu L4 --gpus 1",
    "llama-3.3-70b --concurrency 500 --prompt 2000 --answer 500 --context 8K --gpus 2",
    "llama-4-scout --context 128K --concurrency 1000 --prompt 1000 --answer 1000",
    "meta-llama/llama-4-scout-17b-16e-instruct --gpu H100-80GB-HBM3",
    "llama-3.3-70b --quantization fp8 --gpus 1 --tensor 1 --gpu-memory-utilization 0.95 --context 8K --vllm 0.19",
]
REFUSED = {
    "llama-4-scout --gpu A10G --gpus 2": "use 2 nodes with PP 2",
    "llama-4-scout --gpu RTX4080": "did you mean RTX4090?",
    "llama-3.2-90b-vision": "name llama-4-scout for images, or llama-3.1-70b",
    "llama-3-8b --context 128K": "is longer than the model takes (8,192): use a context of 8,192 tokens",
}


@pytest.mark.parametrize("wish", FIT)
def test_wish_gets_a_plan(wish: str) -> None:
    found = run(*wish.split())
    assert found.exit_code == 0, found.stderr


@pytest.mark.parametrize(("wish", "way_out"), REFUSED.items())
def test_wish_that_cannot_be_gets_the_nearest_that_can(wish: str, way_out: str) -> None:
    found = run(*wish.split())
    assert found.exit_code == 1
    assert way_out in found.stderr
