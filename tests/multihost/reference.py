"""What one engine in one process says, for what several over hosts must say too: `python -m tests.multihost.reference CHECKPOINT…`.

Takes prompts as JSON on standard input, and prints the greedy tokens of each checkpoint to each prompt as JSON on its last line.
"""

import json
import sys
from typing import Any

#: In bfloat16 a token depends on who else is in the batch, and on how a sum is split over ranks.
ENGINE: dict[str, Any] = {
    "enforce_eager": True,
    "dtype": "float32",
    "kv_cache_memory_bytes": 1 << 27,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 1024,
    "skip_mm_profiling": True,
}
CONTEXT_TOKENS = 4096
ANSWER_TOKENS = 24


def main() -> None:
    """The engines one after the other, so that one at a time takes memory."""
    from vllm import LLM, SamplingParams

    prompts = json.load(sys.stdin)
    greedy = SamplingParams(temperature=0, max_tokens=ANSWER_TOKENS, ignore_eos=True)
    said = []
    for checkpoint in sys.argv[1:]:
        engine = LLM(checkpoint, max_model_len=CONTEXT_TOKENS, **ENGINE)
        said.append([list(answer.outputs[0].token_ids) for answer in engine.generate(prompts, greedy)])
        del engine
    print(json.dumps(said))


if __name__ == "__main__":
    main()
