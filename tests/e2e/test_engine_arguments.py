"""`configs.engine_arguments` against the vLLM that is installed: importing it takes ten seconds, so no unit test does."""

import json
import subprocess
import sys
from typing import get_args

from configs.engine_arguments import ENGINE_ARGUMENTS, OWNED_BY_THE_HERD
from configs.names import AllToAll
from configs.schema import Draft

PROGRAM = """
import dataclasses, json
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from typing import get_args
from vllm.config.parallel import All2AllBackend, EPLBConfig
from vllm.config.speculative import SpeculativeConfig, SpeculativeMethod
names = [field.name for kind in (AsyncEngineArgs, FrontendArgs) for field in dataclasses.fields(kind)]
options = [field.name for kind in (EPLBConfig, SpeculativeConfig) for field in dataclasses.fields(kind)]
words = lambda kind: [word for one in get_args(kind) for word in (words(one) or [one])]
print(json.dumps({"names": names, "options": options, "words": words(All2AllBackend) + words(SpeculativeMethod)}))
"""


def test_names_are_those_of_the_installed_vllm() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout.splitlines()[-1])
    public = {name for name in found["names"] if not name.startswith("_")}
    assert public == ENGINE_ARGUMENTS
    assert OWNED_BY_THE_HERD.keys() <= public
    assert {"num_redundant_experts", "method", "model", "num_speculative_tokens"} <= set(found["options"])
    assert {*get_args(AllToAll), *get_args(Draft.model_fields["method"].annotation)} <= set(found["words"])
