"""The image of GPU nodes: its Dockerfile, taken apart."""

import re
from importlib.metadata import version

from tests.tools.documents import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def instructions() -> list[tuple[str, str]]:
    """Each instruction's word and what follows, on one line, without comments."""
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", lines)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def test_base_is_rays_own_image_of_the_version_that_is_installed() -> None:
    assert instructions()[0] == ("ARG", f"BASE=rayproject/ray-llm:{version('ray')}-py312-cu130")
    assert [rest for word, rest in instructions() if word == "FROM"] == ["${BASE} AS bare", "${BASE} AS gpu", "${PARTS}"]


def test_gpu_parts_have_efa_without_kernel_modules_rdma_and_hwloc() -> None:
    runs = " ".join(rest for word, rest in instructions() if word == "RUN")
    for part in ("--skip-kmod", "libhwloc15", "rdma-core", "ibverbs-providers", "librdmacm1", "datacenter-gpu-manager-4-cuda13"):
        assert part in runs
    assert runs.index("efa_installer.sh") < runs.index("rdma-core"), "it brings a newer one than the distribution has"


def test_nodes_run_as_rays_own_user() -> None:
    """`ray up` runs everything in a container as the image's user, and so must whatever reads secrets there."""
    assert [rest for word, rest in instructions() if word == "USER"] == ["root", "1000"]


def test_package_is_installed_with_the_versions_that_it_was_tested_with() -> None:
    last_word, last = instructions()[-1]
    assert last_word == "RUN"
    assert '--constraint "/opt/herd/${CONSTRAINTS}" /opt/herd/llama_herd-*.whl' in last
    assert "--no-cache-dir" in last
    assert ("ARG", "CONSTRAINTS=constraints-gpu.txt") in instructions()


def test_nothing_but_the_wheel_and_the_versions_goes_into_a_build() -> None:
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() == ["*", "!constraints-*.txt", "!dist/llama_herd-*.whl"]


def test_apt_leaves_nothing_and_installs_nothing_unasked() -> None:
    for word, rest in instructions():
        if word == "RUN" and "apt-get" in rest:
            assert rest.endswith("rm -rf /var/lib/apt/lists/*")
            assert rest.count("apt-get install") == rest.count("apt-get install --yes --no-install-recommends")


def test_make_image_names_the_release() -> None:
    assert f"IMAGE ?= llama-herd:{version('llama-herd')}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
