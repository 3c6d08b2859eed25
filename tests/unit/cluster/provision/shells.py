"""A shell of a node, for tests: bash, with a `ray` and a `herd` that tell what they got."""

import os
import subprocess
from pathlib import Path

OWN = "own-" * 4 + "0123456789abcdef"
RAY = '#!/bin/sh\necho "$*"; env | grep -E "^(RAY_|HERD_|GLOO_|NCCL_|TP_|VLLM_|HF_|SITE)"\n'
#: Finds eth7, examines nothing, and starts a head as `ray start --head` would, with the password for Redis on a line of its own.
HERD = """#!/bin/sh
echo "herd $*" >&2
case "$1 $2" in
  "cluster interface") echo export HERD_NODE_IP=10.0.0.7 VLLM_HOST_IP=10.0.0.7 GLOO_SOCKET_IFNAME=eth7 NCCL_SOCKET_IFNAME=eth7 ;;
  "doctor --node") echo llama-herd/health=ok ;;
  "cluster start-head") shift 2; password="$(cat)"; ray start --head "$@"; echo "password: $password" ;;
esac
"""


class Shell:
    """A node's shell; its folder is first in PATH, and the home of its user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, script in {"ray": RAY, "herd": HERD}.items():
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)

    def __call__(self, command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}", "RAY_HEAD_IP": "10.0.0.1", "HOME": str(self.folder), **environment}
        return subprocess.run(["bash", "-c", f"true && ({command})"], capture_output=True, text=True, check=False, env=env)
