"""Reads facts out of what `amd-smi` prints.

Decides how its words are read: `amd-smi static --asic --vram --driver --bus --json` and `amd-smi metric --mem-usage --ecc --json` of ROCm
6 and 7, the one a list of GPUs, the other the same list under `gpu_data`. A field that is N/A is none. Its sizes are in MiB, though it
says MB: 196,592 on an MI300X of 192 GiB.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from cluster.doctor.facts import GpuReport, GpuState
from cluster.doctor.nvidia_smi import NotReadable


def gpu_report(static: str, metrics: str | None) -> GpuReport:
    """Returns what `amd-smi` says about all GPUs.

    Args:
        static: what the first command printed.
        metrics: what the second printed; what it does not say counts as none.

    Raises:
        NotReadable: the first printed something else, its complaint for instance.
    """
    gpus = _gpus(static)
    if gpus is None:
        raise NotReadable(" ".join(static.split())[:200] or "it printed nothing")
    measured = {_at(gpu, "gpu"): gpu for gpu in _gpus(metrics or "") or ()}
    driver = next((str(said) for gpu in gpus if (said := _at(gpu, "driver", "version"))), "unknown")
    states = tuple(_gpu(index, gpu, measured.get(_at(gpu, "gpu"), {})) for index, gpu in enumerate(gpus))
    return GpuReport(driver, "", states, amd=True)


def _gpus(printed: str) -> list[Mapping[str, Any]] | None:
    start = re.search(r"[\[{]", printed)
    try:
        said = json.loads(printed[start.start() :]) if start else None
    except ValueError:
        return None
    found = said.get("gpu_data") if isinstance(said, dict) else said
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


def _gpu(index: int, said: Mapping[str, Any], measured: Mapping[str, Any]) -> GpuState:
    return GpuState(
        index,
        str(_at(said, "asic", "market_name") or "unknown"),
        _number(_at(said, "vram", "size")),
        # Its driver retires the page, and ends the program that had it; there is no word on what has to be done.
        uncorrectable_errors=_number(_at(measured, "ecc", "total_uncorrectable_count")),
        recovered=True,
        used_mib=_number(_at(measured, "mem_usage", "used_vram")),
        bus=str(_at(said, "bus", "bdf") or "").lower(),
    )


def _at(said: Any, *path: str) -> Any:  # noqa: ANN401 (whatever the JSON says)
    for name in path:
        said = said.get(name) if isinstance(said, dict) else None
    return None if said == "N/A" else said


def _number(said: Any) -> int:  # noqa: ANN401 (as above)
    """Returns the number in 5, "5 MB" or {"value": 5, "unit": "MB"}; 0 where there is none."""
    value = said.get("value") if isinstance(said, dict) else said
    found = re.match(r"\s*(\d+)", str(value))
    return int(found[1]) if found else 0
