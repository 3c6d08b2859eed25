"""The top-level Dockerfile, built on a small Debian that is made as Ray's own image is; and this package in it."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.multihost import images
from tests.multihost.dockerd import CLIENT, PATH, docker

pytestmark = [pytest.mark.timeout(1500), pytest.mark.skipif(images.missing() is not None, reason=str(images.missing()))]
TAG = "herd-tests/node:1"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("images")
    with docker(folder / "docker") as address:
        images.base(address, folder / "base", {})
        images.built(address, folder / "node", TAG)
        yield address


def said(address: str, command: str) -> str:
    """What a shell says in a container of the image, as Ray would start one, with the packages of this machine."""
    prefix = Path(sys.prefix)
    run = ["run", "--rm", "--net=none", f"--volume={prefix}:{prefix}:ro", TAG, "bash", "--login", "-c", "-i", command]
    done = subprocess.run([CLIENT, "-H", address, *run], env={"PATH": PATH}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_node_has_this_package_as_rays_own_user(daemon: str) -> None:
    assert said(daemon, "id -u; sudo -n id -u; pip show llama-herd | grep -E '^(Version|Location)'").split() == [
        "1000",
        "0",
        "Version:",
        version("llama-herd"),
        "Location:",
        f"{images.ENV}/lib/python3.11/site-packages",
    ]


def test_command_on_a_node_reads_a_shipped_config(daemon: str) -> None:
    assert "It serves smollm2" in said(daemon, f"herd validate {images.ENV}/lib/python3.11/site-packages/configs/local.yaml")


def test_node_answers_herd_secret_as_its_start_script_asks(daemon: str) -> None:
    assert "HERD_DOOR_KEY" in said(daemon, f"HERD_SECRET={'0123456789abcdef' * 4} herd secret")
