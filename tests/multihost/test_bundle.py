"""A node without a network: what `make bundle` puts into a folder is all that `pip` and Docker need there.

The wheels of vLLM and CUDA are gigabytes: here are those that the command line needs to read a config, with the same commands.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.multihost.hosts import missing
from tests.multihost.images import wheel

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PAGE = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
#: What `herd validate` imports.
NEEDED = ("pydantic", "pyyaml", "typer", "rich", "psutil", "httpx", "msgspec")
pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(missing() is not None, reason=str(missing()))]


def recipe(target: str) -> str:
    """The lines of a target of the Makefile, as make would run them."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None
    return found[1].replace("$$", "$").replace("\t@", "")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, less what is too large."""
    folder = tmp_path_factory.mktemp("bundle")
    (line,) = [line for line in recipe("bundle").splitlines() if " pip wheel " in line]
    assert '"$(ls dist/llama_herd-*.whl)$(BUNDLED)"' in line
    ours = wheel(folder / "dist")
    shutil.copy(ROOT / "constraints-cpu.txt", folder / "constraints-gpu.txt")
    here = line.replace("$(VENV)/bin/python", sys.executable).replace('"$(ls dist/llama_herd-*.whl)$(BUNDLED)"', " ".join(NEEDED))
    done = subprocess.run(["bash", "-e", "-c", here], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if "No matching distribution" in done.stderr or "Connection" in done.stderr:
        pytest.skip("no package index can be reached to make a bundle from")
    assert done.returncode == 0, done.stderr
    shutil.copy(ours, folder / "bundle" / "wheels")
    shutil.copy(folder / "constraints-gpu.txt", folder / "bundle")
    return folder


def test_folder_is_enough_for_a_machine_without_a_network(bundle: Path) -> None:
    (install,) = re.findall(r"^pip install --no-index .*$", PAGE, re.MULTILINE)
    ours = "bundle/wheels/llama_herd-*.whl"
    story = f"""
        python -m venv node
        node/bin/{install.replace("'llama-herd[gpu]'", " ".join(NEEDED))}
        node/bin/{install.replace("'llama-herd[gpu]'", f"--no-deps {ours}")}
        node/bin/pip download --quiet --dest none typing-extensions > /dev/null 2>&1 && exit 9
        cd / && {bundle}/node/bin/herd validate {ROOT}/configs/maverick-3xdgx-onprem.yaml
    """
    alone = ["unshare", "--net", "bash", "-e", "-c", story]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        alone,
        cwd=bundle,
        env={"PATH": path, "HOME": str(bundle), "PIP_RETRIES": "0", "PIP_TIMEOUT": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "is well formed" in " ".join(done.stdout.split())


def test_sums_tell_a_file_that_was_broken_on_its_way(bundle: Path) -> None:
    (sums,) = [line for line in recipe("bundle").splitlines() if "sha256sum" in line]
    (check,) = re.findall(r"sha256sum --check --quiet SHA256SUMS", PAGE)
    subprocess.run(["bash", "-e", "-c", sums], cwd=bundle, check=True, timeout=60)
    assert subprocess.run(["bash", "-c", check], cwd=bundle / "bundle", check=False, timeout=60).returncode == 0
    (bundle / "bundle" / "constraints-gpu.txt").write_text("torch==0\n")
    assert subprocess.run(["bash", "-c", check], cwd=bundle / "bundle", check=False, timeout=60, capture_output=True).returncode == 1
