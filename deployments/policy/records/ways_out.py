"""Ways out of the causes of starts that failed, as far as such causes are known.

Decides by the words of vLLM, PyTorch, the kernel and Ray; errors of this project have their way out in their own words.
"""

import re

from deployments.policy.records.causes import OWN

#: In this order; the first one that is found counts.
_KNOWN = (
    (
        r"Free memory on device|is less than desired GPU memory utilization",
        "Another program has memory of the GPU: `nvidia-smi` on {node} shows which. End it, or lower `engine.gpu_memory_utilization`.",
    ),
    (
        r"max seq len|maximum number of tokens that can be stored in (the )?KV cache|KV cache is needed",
        "Lower `context_tokens`, or give the engine more memory for its KV cache (more GPUs, or `engine.kv_cache_dtype: fp8`).",
    ),
    (
        r"greater than the derived max_model_len|longer than the maximum model length",
        "Lower `context_tokens`: the checkpoint was made for less.",
    ),
    (
        r"OutOfMemoryError|out of memory|No available memory for the cache blocks|can't allocate memory|Cannot allocate memory|MemoryError|"
        r"not enough memory|less than requested memory|std::bad_alloc",
        "The engine asks for more memory than {node} has left. `herd plan` tells what fits: fewer `engine.max_num_seqs`, a smaller "
        "`engine.kv_cache_memory_bytes`, more GPUs, or no other program beside it.",
    ),
    (
        r"SafetensorError|SafetensorsError|deserializing header|IncompleteBuffer|HeaderTooLarge|InvalidHeader|PytorchStreamReader|"
        r"unexpected EOF",
        "A file of the checkpoint is damaged or incomplete. `herd pull --verify` finds it where it came from the Hub; copy it again else.",
    ),
    (
        r"Cannot find any model weights|no .*safetensors|weights were not initialized from checkpoint",
        "The checkpoint lacks files of weights. Copy or pull it again, whole.",
    ),
    (
        r"[Tt]okenizer",
        "Put the tokenizer's files (tokenizer.json, tokenizer_config.json) beside the checkpoint, or name a folder in `engine.tokenizer`.",
    ),
    (
        r"[Mm]odel architectures|does not recognize this architecture|model type|are not supported for now",
        "This release of vLLM does not know this model: is `checkpoint` the right one? `herd --version` tells the release.",
    ),
    (
        r"is not a valid JSON|JSONDecodeError|config\.json|not a valid model identifier|Repo id must|does not appear to have a file",
        "Is `checkpoint` the folder of a model, with config.json and weights, on {node}? Correct it, or copy the folder there.",
    ),
    (
        r"No space left on device",
        "A disk of {node} is full (`df -h`): make room. /dev/shm counts too: a container has as much as --shm-size says.",
    ),
    (
        r"/dev/shm|shared memory|shm_broadcast|Bus error|SIGBUS",
        "{node} has too little shared memory (`df -h /dev/shm`): give the container a larger --shm-size.",
    ),
    (r"Address already in use", "Another program on {node} has that port (`ss -ltnp` shows it): end it, or take another port."),
    (r"Permission denied|PermissionError", "Ray's user on {node} may not read it: `ls -l` there, then `chmod` or `chown`."),
    (
        r"CUDA error|no CUDA-capable device|NVIDIA driver|CUDA driver|HIP error|NVML",
        "The GPU or its driver does not work. `herd doctor` examines {node}.",
    ),
    (
        r"NCCL|Gloo|gloo|connectFullMesh",
        "The GPUs do not reach each other. `herd doctor` tries every pair of nodes, and says which fail.",
    ),
    (
        r"ModuleNotFoundError|ImportError|cannot import name|undefined symbol",
        "A package is missing on {node}, or of another version. `herd doctor` compares the nodes; install the same wheel everywhere.",
    ),
    (
        r"refused its gateway",
        "HERD_SECRET is another one on an engine's node than on the gateway's: set it alike on all nodes, and start Ray there again.",
    ),
    (
        r"without a word",
        "`dmesg -T | grep -i kill` on {node} tells whether the kernel ended it for want of memory: end other programs there, or take "
        "fewer engines.",
    ),
    (
        r"canary",
        "Are `checkpoint` and `quantization` the right ones? If the answer is right all the same, correct `canary.answer`.",
    ),
)
KNOWN = tuple((re.compile(pattern), sentence) for pattern, sentence in _KNOWN)


def way_out(cause: str, node: str) -> str:
    """Returns what to do about the cause of a failed start; empty where nothing is known.

    Args:
        cause: in one line.
        node: its address.
    """
    if OWN.match(cause):
        return ""
    return next((sentence.format(node=node or "its node") for pattern, sentence in KNOWN if pattern.search(cause)), "")
