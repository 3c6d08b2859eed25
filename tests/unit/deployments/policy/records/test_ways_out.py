"""What to do about the cause of a start that failed."""

import pytest

from deployments.policy.records.causes import KILLED
from deployments.policy.records.ways_out import way_out


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (
            "ValueError: Free memory on device cuda:0 (3.1/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, …)",
            "nvidia-smi",
        ),
        (
            "ValueError: To serve at least one request with the model's max seq len (1048576), 96.0 GiB KV cache is needed",
            "`context_tokens`",
        ),
        ("ValueError: User-specified max_model_len (65536) is greater than the derived max_model_len (8192)", "`context_tokens`"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "more memory than 10.0.0.2"),
        ("RuntimeError: [enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory", "more memory than"),
        ("safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata", "damaged or incomplete"),
        ("RuntimeError: Cannot find any model weights with `/models/scout`", "files of weights"),
        ("OSError: Can't load tokenizer for '/models/scout'", "tokenizer.json"),
        ("ValueError: Model architectures ['Llama9ForCausalLM'] are not supported for now", "does not know this model"),
        ("OSError: /models does not appear to have a file named config.json", "folder of a model"),
        ("OSError: [Errno 28] No space left on device", "`df -h`"),
        ("OSError: /dev/shm is too small", "--shm-size"),
        ("OSError: [Errno 98] Address already in use", "`ss -ltnp`"),
        ("PermissionError: [Errno 13] Permission denied: '/models/scout'", "`chmod`"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "`herd doctor`"),
        ("RuntimeError: Gloo connectFullMesh failed", "every pair"),
        ("ModuleNotFoundError: No module named 'deep_ep'", "same wheel"),
        (KILLED, "`dmesg -T"),
        ("NotFit: scout may not serve: its canary is wrong: it said ' 1'", "`canary.answer`"),
        ("The engine refused its gateway", "HERD_SECRET"),
    ],
)
def test_known_cause_has_its_way_out(cause: str, words: str) -> None:
    assert words in way_out(cause, "10.0.0.2")


def test_node_that_is_not_known_is_told_so() -> None:
    assert "on its node" in way_out("PermissionError: no", "")


@pytest.mark.parametrize("cause", ["ValueError: something new", "WeightsError: the tokenizer's repository is gated. Set HF_TOKEN."])
def test_unknown_cause_and_one_of_our_own_have_none(cause: str) -> None:
    assert way_out(cause, "10.0.0.2") == ""
