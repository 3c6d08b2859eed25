"""`configs.engine_arguments` against the vLLM that is installed: importing it takes ten seconds, so no unit test does."""

import json
import subprocess
import sys

from configs.engine_arguments import ENGINE_ARGUMENTS, OWNED_BY_THE_HERD

PROGRAM = """
import dataclasses, json
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import FrontendArgs
print(json.dumps([field.name for kind in (AsyncEngineArgs, FrontendArgs) for field in dataclasses.fields(kind)]))
"""


def test_names_are_those_of_the_installed_vllm() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    public = {name for name in json.loads(ran.stdout.splitlines()[-1]) if not name.startswith("_")}
    assert public == ENGINE_ARGUMENTS
    assert OWNED_BY_THE_HERD.keys() <= public
