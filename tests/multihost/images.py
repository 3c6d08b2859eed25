"""Images for fake hosts: a small Debian, made as Ray's own are, and this project's image on top of it, from the top-level Dockerfile.

Decides what stands for the gigabytes of Ray's image: its user, its rights, its shell, and an environment whose packages are those of this
machine. The environment's folder must be mounted where it is here; only this package is installed in the image itself.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType

from configs.load import environment
from tests.multihost.dockerd import CLIENT, PATH
from tests.multihost.dockerd import missing as no_docker

ROOT = Path(__file__).parents[2]
DEBIAN = "herd-tests/debian:12"
BASE = "rayproject/ray-llm:2.60.0-py312-cu130"
#: The image's own environment, as Ray's has one in its user's home.
HOME, ENV = "/home/ray", "/home/ray/anaconda3"
PACKAGES = "python3,ca-certificates,openssh-client,netbase,rsync,sudo,procps,iproute2,libgomp1,libnuma1"
PYTHON = (3, 11)
BUILD_S = 1200.0
#: As Ray's own base has it: uid 1000 of group 100, who may do everything by `sudo`. This machine's packages may be mounted below /root.
AS_RAYS = f"""\
FROM {DEBIAN}
RUN useradd --create-home --shell /bin/bash --uid 1000 --gid 100 ray && echo 'ray ALL=NOPASSWD: ALL' > /etc/sudoers.d/ray
ENV PATH={ENV}/bin:$PATH HOME={HOME} LANG=C.UTF-8 LC_ALL=C.UTF-8
COPY --chown=1000:100 env {ENV}
COPY --chown=1000:100 bashrc {HOME}/.bashrc
COPY --chown=1000:100 more /
RUN chmod 755 /root
USER 1000
WORKDIR {HOME}
"""


def missing() -> str | None:
    """Why no image can be built here; none where it can."""
    if why_not := no_docker():
        return why_not
    if shutil.which("mmdebstrap", path=PATH) is None:
        return "mmdebstrap not installed (Debian: apt-get install mmdebstrap)"
    if sys.version_info[:2] != PYTHON:
        return "the small Debian has Python 3.11, and this environment another"
    return None


def debian() -> Path:
    """The files of a small Debian, as a tar file in the cache: some minutes the first time."""
    found = environment().cache.absolute() / "test-images" / f"debian-12-{sha256(PACKAGES.encode()).hexdigest()[:8]}.tar"
    if not found.exists():
        found.parent.mkdir(parents=True, exist_ok=True)
        half = found.with_name(f"{found.name}.{os.getpid()}")
        quick = ("--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", "--format=tar", *quick, "bookworm", str(half)]
        subprocess.run(command, env={"PATH": PATH}, check=True, timeout=BUILD_S)
        half.replace(found)
    return found


def base(address: str, folder: Path, variables: Mapping[str, str], more: Mapping[Path, str] = MappingProxyType({})) -> None:
    """Builds the image that stands for Ray's, under that one's name.

    Args:
        address: of the daemon.
        folder: for the build's files.
        variables: for every shell in a container.
        more: further folders, and where each is in the image.
    """
    _docker(address, "import", str(debian()), DEBIAN)
    (folder / "more").mkdir(parents=True)
    for found, place in more.items():
        shutil.copytree(found, folder / "more" / place.removeprefix("/"), ignore=shutil.ignore_patterns("__pycache__"))
    _environment(folder / "env")
    exports = "".join(f"export {name}='{value}'\n" for name, value in variables.items())
    (folder / "bashrc").write_text(f"export PATH={ENV}/bin:$PATH\n{exports}", encoding="utf-8")
    (folder / "Dockerfile").write_text(AS_RAYS, encoding="utf-8")
    _docker(address, "build", "--network", "host", "--tag", BASE, str(folder))


def built(address: str, folder: Path, tag: str) -> None:
    """Builds this project's image as `make image` does, without what only GPUs need. The dependencies are the base's."""
    wheel(folder / "dist")
    for name in ("Dockerfile", ".dockerignore", "constraints-gpu.txt"):
        shutil.copy(ROOT / name, folder)
    arguments = [word for one in (f"BASE={BASE}", "PARTS=bare", "OPTIONS=--no-deps --no-index") for word in ("--build-arg", one)]
    _docker(address, "build", "--network", "none", *arguments, "--tag", tag, str(folder))


def wheel(folder: Path) -> Path:
    """This package's wheel, as `make wheel` builds it."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=300)
    (found,) = folder.glob("llama_herd-*.whl")
    return found


def _environment(folder: Path) -> None:
    """Packages are links to this machine's, which dangle until they are mounted; pip is there, and this package is not."""
    ours = Path(sysconfig.get_paths()["purelib"])
    packages = folder / "lib" / f"python{PYTHON[0]}.{PYTHON[1]}" / "site-packages"
    packages.mkdir(parents=True)
    for one in ours.iterdir():
        if one.name.startswith("pip"):
            shutil.copytree(one, packages / one.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif "llama_herd" not in one.name and one.name != "__pycache__":
            (packages / one.name).symlink_to(one)
    programs = folder / "bin"
    programs.mkdir()
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n", encoding="utf-8")
    for name in ("python", "python3"):
        (programs / name).symlink_to("/usr/bin/python3")
    for one in (Path(sys.prefix) / "bin").iterdir():
        _program(one, programs / one.name)


def _program(found: Path, copy: Path) -> None:
    """A package's program, which begins with the path of its Python; `herd` comes with the package."""
    if found.name == "herd" or not found.is_file() or copy.is_symlink():
        return
    text = found.read_bytes()
    if text.startswith(b"#!") and b"python" in text.partition(b"\n")[0]:
        copy.write_bytes(f"#!{ENV}/bin/python\n".encode() + text.partition(b"\n")[2])
        copy.chmod(0o755)


def _docker(address: str, *words: str) -> None:
    variables = {"PATH": PATH, "DOCKER_BUILDKIT": "1", "HOME": "/nonexistent"}
    done = subprocess.run([CLIENT, "-H", address, *words], env=variables, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"docker {' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
