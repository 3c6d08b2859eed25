"""`make gpu-check`, as far as no GPU is needed: which engines it starts, how it reads what they say, and the table beside the plan."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cluster.catalogue.gpus import GPUS
from cluster.catalogue.models import CATALOGUE
from cluster.planner.capacity import capacity
from tests.bench.gpu_check import __main__ as gpu_check
from tests.bench.gpu_check.results import page, result
from tests.bench.gpu_check.said import MARK, Run, read
from tests.bench.gpu_check.subjects import Subject, fits, for_gpu, tiny
from tests.unit.nvidia_smi_samples import dgx

LOG = """\
(EngineCore pid=7) INFO 12:00:01 [gpu_model_runner.py:5471] Model loading took 61.36 GiB memory and 14.250000 seconds
(EngineCore pid=7) INFO 12:00:41 [monitor.py:34] torch.compile took 31.05 s in total
(EngineCore pid=7) INFO 12:00:55 [gpu_worker.py:625] Available KV cache memory: 8.11 GiB
(EngineCore pid=7) INFO 12:00:55 [kv_cache_utils.py:2032] GPU KV cache size: 55,414 tokens, Maximum concurrency for 32,768 tokens: 1.69x
(EngineCore pid=7) INFO 12:01:05 [gpu_model_runner.py:7002] Graph capturing finished in 9 secs, took 1.12 GiB
(EngineCore pid=7) INFO 12:01:06 [core.py:369] init engine (profile, create kv cache, warmup model) took 52.60 s
"""
STARTED = {
    "what": "started",
    "seconds": 95.5,
    "engine": {
        "device": "NVIDIA H100 80GB HBM3",
        "figures": {"weights_bytes": 65_884_000_000, "kv_bytes": 8_850_000_000, "kv_tokens": 55_414, "start_s": None},
        "batch_tokens": 8192,
        "block_tokens": 16,
    },
}
LEVEL = {"what": "level", "users": 16, "prompt_tokens": 1000, "answer_tokens": 200, "tokens_s": 950.0, "first_token_s": 0.41}
SAID = [*LOG.splitlines(), MARK + json.dumps(STARTED), "anything else", MARK + json.dumps(LEVEL)]


@pytest.mark.parametrize("name", GPUS)
def test_engines_of_every_gpu_are_those_that_it_holds(name: str) -> None:
    subjects = for_gpu(GPUS[name])  # type: ignore[index]
    assert subjects, "every GPU of the catalogue holds one of them"
    assert all(fits(one, GPUS[name]) for one in subjects)  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "first"), [("H200", "llama-4-scout, fp8"), ("H100", "llama-4-scout, int4"), ("L4", "llama-4-scout, int4, 8 of 48 layers")]
)
def test_scout_is_as_large_as_fits(name: str, first: str) -> None:
    assert for_gpu(GPUS[name])[0].name == first  # type: ignore[index]


@pytest.mark.parametrize(("place", "kind"), [(0, "llama-4-scout"), (1, "llama-3.1-8b")])
def test_planner_reads_the_catalogues_shape_in_the_config_that_is_written(place: int, kind: str) -> None:
    decoder = CATALOGUE[kind].decoder  # type: ignore[index]
    assert decoder is not None
    assert for_gpu(GPUS["H100"])[place].stored.architecture == replace(decoder, vision=None)


def test_engine_gets_the_arguments_that_are_planned_with() -> None:
    scout = for_gpu(GPUS["H100"])[0]
    assert scout.arguments("/x") == {
        "model": "/x",
        "max_model_len": 32_768,
        "load_format": "dummy",
        "skip_tokenizer_init": True,
        "dtype": "bfloat16",
    }
    assert scout.engine(GPUS["H100"]).settings.context_tokens == 32_768


def test_log_is_read_as_figures() -> None:
    run = read(SAID, ended_well=True)
    assert run.log == {
        "weights_gib": 61.36,
        "load_s": 14.25,
        "compile_s": 31.05,
        "left_for_kv_gib": 8.11,
        "kv_tokens": 55_414,
        "graphs_s": 9,
        "graphs_gib": 1.12,
        "init_s": 52.6,
    }
    assert run.started == STARTED["engine"]
    assert (run.start_s, run.levels, run.last_words) == (95.5, (LEVEL,), ())


def test_engine_that_died_leaves_its_last_words() -> None:
    run = read(["one", "two", "CUDA out of memory"], ended_well=False, keep=2)
    assert (run.started, run.last_words) == (None, ("two", "CUDA out of memory"))
    written = result(scout(), run, "0.29.0")
    assert "engine" not in written
    assert "It did not start. Its last words:\n\n    two\n    CUDA out of memory" in page("an H100", [written])


def scout() -> Subject:
    return for_gpu(GPUS["H100"])[0]


def test_result_has_the_engines_figures_beside_the_plan() -> None:
    written: dict[str, Any] = json.loads(json.dumps(result(scout(), read(SAID, ended_well=True), "0.29.0+cu130")))
    engine, found = written["engine"], capacity(scout().engine(GPUS["H100"]))
    assert engine["planned"]["weights_bytes"] == found.weights_bytes + found.rope_bytes
    assert engine["planned"]["kv_tokens"] == found.pool_tokens
    assert engine["told"]["start_s"] == 95.5
    assert written["levels"][0]["planned_tokens_s"] > 0
    assert written["log"]["graphs_gib"] == 1.12


def test_table_has_a_row_for_each_figure_and_each_number_of_users() -> None:
    shown = page("NVIDIA H100 80GB HBM3", [result(scout(), read(SAID, ended_well=True), "0.29.0")])
    assert shown.startswith("# Engines on NVIDIA H100 80GB HBM3, beside the plan\n\n## llama-4-scout, int4\n")
    assert "| weights | 61.4 GiB | 61.3 GiB | +0% |" in shown
    assert "| 16 | 950 | " in shown
    assert "The start, by vLLM's log: weights made in 14 s, compiled in 31 s, graphs captured in 9 s, engine set up in 53 s." in shown


def test_measurement_that_broke_off_is_told_with_what_is_known() -> None:
    shown = page("an H100", [result(scout(), read(SAID, ended_well=False), "0.29.0")])
    assert "| weights | 61.4 GiB |" in shown
    assert "It did not end well" in shown


def test_engine_on_a_cpu_has_no_plan_for_speed() -> None:
    engine = STARTED["engine"] | {"device": "cpu", "block_tokens": 128, "batch_tokens": 2048}  # type: ignore[operator]
    shown = page("cpu", [result(tiny()[1], Run(started=engine, start_s=1.0, levels=(LEVEL,)), "0.29.0")])
    assert "| 16 | 950 | – | – | 0.41 s | – |" in shown
    assert "this engine has no GPU" in shown
    assert "The start, by vLLM's log" not in shown


def test_gpu_is_found_by_what_nvidia_smi_prints(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(dgx(), encoding="utf-8")
    state = gpu_check.found(("cat", str(report)))
    assert state is not None
    assert gpu_check.planned_for(state) == GPUS["H100"]
    unknown = gpu_check.planned_for(replace(state, name="NVIDIA Of-Tomorrow"))
    assert 75 < unknown.memory_gib < 80, "its memory decides what fits"
    assert for_gpu(unknown)


@pytest.mark.parametrize("command", [("no-such-program",), ("false",)])
def test_machine_without_a_driver_has_no_gpu(command: tuple[str, ...]) -> None:
    assert gpu_check.found(command) is None


def test_machine_without_a_gpu_is_told_so_in_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_check, "found", lambda: None)
    assert gpu_check.main([]) == 2
    assert capsys.readouterr().out.startswith("This machine has no GPU")


def engine_that(code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Has another program stand in for the engine's process."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!{sys.executable}\n{code}\n", encoding="utf-8")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))


def test_every_engine_is_measured_and_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine_that(f"print({chr(10).join(SAID)!r})", monkeypatch, tmp_path)
    assert gpu_check.check([scout(), scout()], "an H100", tmp_path, gpu_check.TINY)
    written = json.loads((tmp_path / "gpu-check.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in written["engines"]] == ["llama-4-scout, int4"] * 2
    assert json.loads((tmp_path / "llama-4-scout-int4" / "config.json").read_text(encoding="utf-8")) == scout().config
    assert (tmp_path / "gpu-check.md").read_text(encoding="utf-8").count("## llama-4-scout, int4") == 2


def test_engine_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine_that("print('CUDA out of memory'); raise SystemExit(1)", monkeypatch, tmp_path)
    assert not gpu_check.check([scout(), scout()], "an H100", tmp_path, gpu_check.TINY)
    written = json.loads((tmp_path / "gpu-check.json").read_text(encoding="utf-8"))
    assert [one["last_words"] for one in written["engines"]] == [["CUDA out of memory"]] * 2


def test_engine_that_hangs_is_ended_with_all_of_its_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    engine_that(
        "import subprocess, time; subprocess.Popen(['sleep', '60']); print('starting', flush=True); time.sleep(60)", monkeypatch, tmp_path
    )
    run = gpu_check.measured(scout(), tmp_path, gpu_check.TINY, within_s=5)
    assert run.last_words == ("starting",)
