"""What a real Ray keeps for the herd's commands: found from another home, by whoever may read Ray's token, and by nobody else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.samples import config

ROOT = Path(__file__).parents[2]
APART = ("unshare", "--pid", "--net", "--mount", "--fork", "--mount-proc", "--kill-child")
KEEP = """
import sys
from configs.load import environment
from deployments.lifecycle.access import ray_here
from deployments.lifecycle.known import _in_ray
from deployments.lifecycle.memory import CONFIG, InCluster
here = ray_here(environment())
with _in_ray(here.address, here.variables, ""):
    InCluster().keep(CONFIG, "of an older change")
    InCluster().keep(CONFIG, sys.argv[1])
    assert InCluster().kept(CONFIG) == sys.argv[1]
"""
ASK = """
from configs.load import environment
from deployments.lifecycle.herd import OperationError, known
try:
    print("up:", known(environment(), None).config.name)
except OperationError as error:
    print("refused:", error)
"""
#: Another user; what it imports is in this one's home.
ASK_AS_ANOTHER = f"import os, ray\nfrom deployments.lifecycle import herd\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\n{ASK}"
FORGET = KEEP.replace(
    "assert InCluster().kept(CONFIG) == sys.argv[1]", "InCluster().forget(CONFIG); assert InCluster().kept(CONFIG) is None"
)
#: An operator who changes the herd, for as long as the first argument says.
CHANGE = """
import sys, time
from pathlib import Path
from configs.load import environment
from configs.schema import Config
from deployments.lifecycle.access import ray_here
from deployments.lifecycle.changing import declared, roll_lock, rolls
from deployments.lifecycle.changing.rolls import Progress
from deployments.lifecycle.known import Herd, OperationError, _in_ray
here, herd = ray_here(environment()), Herd(Path(sys.argv[2]), Config.model_validate_json(sys.argv[3]))
progress = Progress(herd.folder, rolls.of_this_process(declared.order("rollback")))
with _in_ray(here.address, here.variables, ""):
    try:
        with roll_lock.in_cluster(herd, progress):
            progress.say("Deploying")
            print("changes", flush=True)
            time.sleep(float(sys.argv[1]))
        print("ended:", rolls.read(roll_lock.cluster_store.kept(roll_lock.LAST)).steps[-1][1], roll_lock.held())
    except OperationError as error:
        print("refused:", error, flush=True)
"""
STORY = """
ip link set lo up
RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef \
  ray start --head --port=6379 --num-cpus=0 --object-store-memory=80000000 \
  --include-dashboard=false --disable-usage-stats --temp-dir "$1" > "$1.log" 2>&1 || { cat "$1.log"; exit 1; }
python -c "$KEEP" "$CONFIG"
HERD_STATE="$1.second" python -c "$ASK"
HERD_STATE="$1.third" python -c "$ASK_AS_ANOTHER"
python -c "$FORGET" "$CONFIG"
HERD_STATE="$1.second" python -c "$ASK"
python -c "$CHANGE" 600 "$1.first" "$CONFIG" > "$1.first.out" & first=$!
for _ in $(seq 600); do grep -q changes "$1.first.out" && break; sleep 0.1; done
python -c "$CHANGE" 0 "$1.second" "$CONFIG"
kill -9 $first
for _ in $(seq 60); do python -c "$CHANGE" 0 "$1.second" "$CONFIG" > "$1.last"; grep -q ended "$1.last" && break; sleep 1; done
cat "$1.last"
"""


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root, for a process namespace of its own")
def test_cluster_remembers_its_herd_for_everybody_whom_ray_lets_in_and_who_changes_it(tmp_path: Path) -> None:
    herd = config(name="ours", ray={"address": "auto"}).model_dump_json()
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "CONFIG": herd,
        "KEEP": KEEP,
        "ASK": ASK,
        "ASK_AS_ANOTHER": ASK_AS_ANOTHER,
        "FORGET": FORGET,
        "CHANGE": CHANGE,
        "RAY_raylet_start_wait_time_s": "120",
    }
    words = [*APART, "bash", "-e", "-c", STORY, "story", f"/tmp/herd-memory-{os.getpid()}"]
    try:
        done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=480, check=False)
    finally:
        for left in Path("/tmp").glob(f"{Path(words[-1]).name}*"):
            shutil.rmtree(left, ignore_errors=True)
            left.unlink(missing_ok=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    assert [line for line in said if line.startswith("up:")] == ["up: ours"]
    assert "refused: Ray runs here as root, and this user cannot know its token: run this as root, or set HERD_SECRET." in said
    none, refused, _, ended = said[-4:]
    assert none == "refused: No herd is up."
    assert refused.startswith("refused: `herd rollback` by root@"), "one operator at a time"
    assert ", at: Deploying. `herd up --attach` shows it; try again when it has ended. It runs on " in refused
    assert ended == "ended: Deploying None", "the lock of an operator whose program was killed is free"
