"""The keys under which vLLM looks for what an earlier start left, for the tests here to ask through `vllm_itself.ask`.

`python -m tests.alone.vllm_keys NAME`, a list of arguments (on the standard input) and the answer (the last line) in JSON.
"""

import json
import os
import sys
from collections.abc import Iterator


def keys_of_code(ports: list[int]) -> list[list[str]]:
    """vLLM's key of compiled code with each port for its KV cache, before our mend and behind it."""
    from vllm import envs
    from vllm.config.utils import hash_factors

    from deployments.engine.vllm.kept_starts import mend

    def keys() -> Iterator[str]:
        for port in ports:
            os.environ["VLLM_NIXL_SIDE_CHANNEL_PORT"] = str(port)
            yield hash_factors(dict(envs.compile_factors()))

    theirs = list(keys())
    mend()
    return [theirs, list(keys())]


def keys_of_memory(engines: list[list[float]]) -> list[list[str]]:
    """vLLM's key of the memory plan of a small Scout with each share of the memory and number of images, before our mend and behind it."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.worker import startup_plan

    from configs.load import environment
    from deployments.engine.vllm.kept_starts import with_memory
    from deployments.small_models import ensure

    theirs = startup_plan.compute_plan_fingerprint  # vLLM loads its plugins, ours among them, when it makes a config
    folder = str(ensure("llama-4-scout-tiny", environment().models))
    configs = [
        EngineArgs(model=folder, gpu_memory_utilization=share, limit_mm_per_prompt={"image": int(images)}).create_engine_config()
        for share, images in engines
    ]
    return [[told(one, 0, 1) for one in configs] for told in (theirs, with_memory(theirs))]


if __name__ == "__main__":
    answered = globals()[sys.argv[1]](*json.load(sys.stdin))
    print(f"\n{json.dumps(answered)}")
