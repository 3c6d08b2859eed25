"""Makes the virtual environment everything else runs in: `make env`, which is `python3 cluster/machine/environment.py --extra dev`.

Looks at the machine (an NVIDIA driver means `gpu`, none means `cpu`, HERD_ACCELERATOR overrules both), carries out what
`environment_plan.py` decides, and does nothing when the environment is as it should be. Leaves the versions to
constraints-cpu.txt and constraints-gpu.txt, and importing torchvision without its extension to `torchvision_mend.py`.

It runs before anything is installed, by whatever the machine calls python3, so it uses the standard library alone.

Exit status: 0 ready, 1 the machine lacks something, 2 wrong arguments, 3 an installation failed, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if not __package__:
    sys.path[0] = str(ROOT)  # a script's own folder: there, `ray/` and other neighbours would stand for the real ones

from cluster.machine import environment_plan as plan  # noqa: E402
from cluster.machine.venv import VERSION, Venv, say  # noqa: E402

FAILED, INTERRUPTED = 3, 130
MEND = "herd_torchvision_mend"


@contextlib.contextmanager
def step(number: int, total: int, title: str) -> Iterator[None]:
    say(f"[{number}/{total}] {title} ... ")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say("\n")
        raise
    say(f"{time.monotonic() - began:.1f} s\n")


def use_right_python() -> None:
    """Goes on under another Python where the running one does not do; a name on PATH may be a shim that only complains."""
    if sys.platform != "linux":
        raise plan.UnreadyError("Llama Herd runs on Linux: use WSL 2 on Windows, a Linux machine or container on a Mac.")
    if sys.version_info[:2] in plan.PYTHONS:
        return
    names = ["python{}.{}".format(*version) for version in plan.PYTHONS]
    for python in (os.path.join(folder, name) for name in names for folder in os.get_exec_path()):
        if os.access(python, os.X_OK) and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0:
            os.execv(python, [python, *sys.argv])
    raise plan.UnreadyError(f"Python {VERSION} does not do: Llama Herd needs {' or '.join(names)} on PATH, or PYTHON=... for make.")


def ask_nvidia_smi(program: str | None) -> str | None:
    if program is None:
        return None
    try:
        return subprocess.run([program, "-L"], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)


def detect(there: plan.Record | None) -> plan.Accelerator:
    override, program = os.environ.get("HERD_ACCELERATOR", ""), shutil.which("nvidia-smi")
    if plan.trusts_record(override, there, program is not None):
        return plan.Accelerator("gpu", "as installed")
    return plan.choose_accelerator(override, None if override else ask_nvidia_smi(program))


def wanted_record(venv: Venv, accelerator: str, extras: Sequence[str]) -> plan.Record:
    import tomllib  # not in the oldest Python that may read this file

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    own = (Path(__file__).with_name(name) for name in ("environment.py", "environment_plan.py", "torchvision_mend.py", "venv.py"))
    files = [file.read_text(encoding="utf-8") for file in (ROOT / f"constraints-{accelerator}.txt", *own)]
    stamp = plan.stamp_of([json.dumps([project["project"], project["build-system"], *extras]), *files])
    return plan.Record(accelerator, VERSION, str(venv.path), stamp)


def check_machine(venv: Venv, accelerator: str) -> None:
    if importlib.util.find_spec("ensurepip") is None:
        raise plan.UnreadyError(f"Python has no venv here: sudo apt install python{VERSION}-venv")
    has_compiler = any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang")))
    has_headers = (Path(sysconfig.get_path("include")) / "Python.h").exists()
    shortage = plan.compiler_shortage(accelerator, has_compiler, has_headers)
    if not venv.path.exists():  # one that is there has taken part of its room already
        place = next(folder for folder in venv.path.parents if folder.exists())
        shortage = shortage or plan.disk_shortage(shutil.disk_usage(place).free, accelerator)
    if shortage:
        raise plan.UnreadyError(shortage)


def make_venv(venv: Venv, wanted: plan.Record) -> None:
    reason = plan.why_rebuild(venv.record(), wanted)
    if reason:
        say(f"made anew, {reason}, ")
    elif venv.python.exists() and venv.site_packages.is_dir() and venv.pip(["--version"]):
        return  # without a pip that runs, it was stopped while it was made
    if venv.path.exists() and not (venv.path / "pyvenv.cfg").exists():
        raise plan.UnreadyError(f"{venv.path} is there and is no virtual environment: move it away, or choose another --venv.")
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv.path)], capture_output=True, text=True, check=False)
    if made.returncode:
        raise plan.UnreadyError(f"No virtual environment could be made:\n{made.stdout}{made.stderr}", FAILED)


def forget_half_installed(site_packages: Path) -> None:
    """pip takes a package for installed, and cannot remove it either, if it was stopped before it wrote the RECORD."""
    for folder in site_packages.glob("*.dist-info"):
        if not (folder / "RECORD").exists():
            shutil.rmtree(folder)


def install(venv: Venv, wanted: plan.Step, constraints: str = "") -> None:
    if all(bring(venv, each, constraints) for each in wanted.runs) or (wanted.instead and all(map(venv.pip, wanted.instead))):
        return
    lines = venv.log.read_text(errors="replace").splitlines()
    last = "\n  ".join(lines[-10:])
    raise plan.UnreadyError(f"pip failed:\n  {last}\n{plan.way_out(chr(10).join(lines[-60:]))}\nAll of it: {venv.log}", FAILED)


def bring(venv: Venv, each: Sequence[str], constraints: str) -> bool:
    """Installs by uv where that is there and can, else by pip."""
    before, brought, expected = venv.packages(), venv.unpacked(), plan.wanted_packages(each, constraints)

    def count() -> str:
        return plan.counted(max(venv.packages() - before, venv.unpacked() - brought), expected)

    if (venv.site_packages / "uv").is_dir():
        settings = venv.pip_settings()
        if venv.uv(plan.with_uv(each, str(venv.python), settings), settings.get("cert", ""), count):
            return True
    return venv.pip(each, count)


def install_torchvision_mend(site_packages: Path) -> None:
    module = site_packages / f"{MEND}.py"
    shutil.copyfile(Path(__file__).with_name("torchvision_mend.py"), module)
    # Every interpreter loads it, also those told to write no bytecode.
    py_compile.compile(str(module), doraise=True)
    (site_packages / f"{MEND}.pth").write_text(f"import {MEND}; {MEND}.install()\n")


def make_torchvision_importable(venv: Venv, constraints: str) -> None:
    mended = (venv.site_packages / f"{MEND}.pth").exists()
    if not mended and venv.imports("torchvision"):
        return
    if not mended and venv.pip(plan.from_pytorch("torchvision", constraints)) and venv.imports("torchvision"):
        return
    install_torchvision_mend(venv.site_packages)
    if not venv.imports("torchvision"):
        raise plan.UnreadyError(f"torchvision cannot be imported; {venv.log} says why.", FAILED)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Two makes at once would install over each other; the second waits, and then finds its work done."""
    import fcntl  # not on every system that is told that it does not do

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another make is at the environment; waiting for it ...\n")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def build(venv: Venv, wanted: plan.Record, accelerator: plan.Accelerator, extras: Sequence[str]) -> None:
    constraints = (ROOT / f"constraints-{wanted.accelerator}.txt").read_text(encoding="utf-8")
    steps, on_cpu = plan.steps(wanted.accelerator, extras, constraints), wanted.accelerator == "cpu"
    total = 4 + len(steps) + on_cpu
    with step(1, total, f"accelerator: {accelerator.kind} ({accelerator.reason})"):
        pass
    with step(2, total, f"machine, Python {VERSION}"):
        check_machine(venv, wanted.accelerator)
    with step(3, total, f"virtual environment {venv.path}"):
        make_venv(venv, wanted)
        venv.keep(wanted._replace(stamp=""))
        venv.log.write_bytes(b"")
        forget_half_installed(venv.site_packages)
        venv.pip((*plan.INSTALL, "--no-deps", plan.UV))  # without it, pip does everything
    for number, each in enumerate(steps, start=4):
        with step(number, total, each.title):
            install(venv, each, constraints)
    with step(4 + len(steps), total, "bytecode"):
        venv.compile()
    if on_cpu:
        with step(total, total, "torchvision beside a CPU PyTorch"):
            make_torchvision_importable(venv, constraints)
    venv.keep(wanted)


def prepare(venv: Venv, extras: Sequence[str]) -> None:
    use_right_python()
    began = time.monotonic()
    with alone():
        there = venv.record()
        accelerator = detect(there)
        wanted = wanted_record(venv, accelerator.kind, extras)
        if there != wanted or not venv.python.exists():
            build(venv, wanted, accelerator, extras)
    say(f"Environment for {accelerator.kind} ready ({accelerator.reason}), {time.monotonic() - began:.1f} s\n")


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the virtual environment of Llama Herd, or leaves a good one alone.")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml besides the engine's, like dev")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where (default: .venv beside this project)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        prepare(Venv(options.venv.absolute()), options.extra)
    except plan.UnreadyError as problem:
        say(f"{problem}\n")
        return problem.status
    except KeyboardInterrupt:
        say("Stopped. The same command goes on from here.\n")
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
