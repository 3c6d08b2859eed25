"""`herd simulate` as it is typed: its answer, what it writes, and what it says where something is wrong."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cluster.scaling.work import Slo
from deployments.commands.simulating.rules import UnknownRule, compared
from deployments.commands.simulating.simulate import simulate
from tests.unit.machines import ROOT

app = typer.Typer()
app.command()(simulate)
CONFIG = str(ROOT / "configs" / "scout-fp8-2xh100.yaml")
SHORT = ("--load", "step:2@60,8@120")
SHORTEST = ("--load", "step:2@10,8@20")
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:16:50.9951690,396,109\n"
LINE = '{"timestamp": 0, "input_length": 1000, "output_length": 50, "hash_ids": [0, 1]}\n'
MOONCAKE = LINE * 2 + LINE.replace(": 0,", ": 3000,")
BENCHMARK = '{"start_times": [7.5, 7.0], "input_lens": [10, 20], "output_lens": [3, 4]}'
SIMPLE = "at_s,prompt_tokens,output_tokens\n0,100,20\n5,2000000,20\n9,100,30\n"


def run(*words: str) -> Any:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, list(words))


def data(*words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(CONFIG, *words, "--json", "-").stdout)
    return found


def test_answer_says_how_many_replicas_on_which_gpus_at_what_price_and_writes_page_and_json(tmp_path: Path) -> None:
    page, file = tmp_path / "report.html", tmp_path / "report.json"
    said = run(CONFIG, *SHORT, "--replicas", "1-8", "--price", "2.5", "--compare", "static:3", "--out", str(page), "--json", str(file))
    assert said.exit_code == 0, said.output
    words = " ".join(said.stdout.split())
    assert "1,080 requests in 3 min" in words
    assert "keep 90 % of the requests within 3 s to the first token and 100 ms between tokens" in words
    assert "The herd's own rule, 1 to 8 replicas, kept" in words
    assert max(len(line) for line in said.stdout.splitlines() if " " in line.strip()) <= 80, "but for a path"
    found = json.loads(file.read_text(encoding="utf-8"))
    fixed, herd, static = found["runs"]
    assert (herd["rule"], static["rule"], fixed["keeps"]) == ("herd", "static:3", True)
    assert static["gpu_hours"] == pytest.approx(3 * 2 * 180 / 3600)
    assert static["money"] == pytest.approx(static["gpu_hours"] * 2.5)
    assert {"requests_s", "wanted", "starting", "ready", "draining", "ttft_p99_s", "gpu_hours"} <= herd["series"].keys()
    text = page.read_text(encoding="utf-8")
    assert text.count("<h2>") == 3
    assert "Money" in text


def test_same_seed_gives_the_same_answer_and_another_seed_another_load() -> None:
    one, same, other = (data(*SHORTEST, "--seed", seed) for seed in ("1", "1", "2"))
    assert one == same
    assert one["runs"] != other["runs"]


def test_gpus_side_by_side_have_rows_of_their_own_and_the_cheapest_is_named() -> None:
    found = data(*SHORTEST, "--gpu", "H100=2.5", "--gpu", "H200=3.5", "--replicas", "1-4")
    assert [(run["gpu"], run["rule"] == "herd") for run in found["runs"]] == [
        ("H100", False),
        ("H100", True),
        ("H200", False),
        ("H200", True),
    ]
    assert any("cheapest" in one for one in found["answers"])


@pytest.mark.parametrize(("text", "requests", "left_out"), [(AZURE, 2, 0), (MOONCAKE, 3, 0), (BENCHMARK, 2, 0), (SIMPLE, 2, 1)])
def test_traces_are_read_by_their_content_and_requests_beyond_the_context_are_left_out(
    tmp_path: Path, text: str, requests: int, left_out: int
) -> None:
    (tmp_path / "trace").write_text(text, encoding="utf-8")
    found = data("--trace", str(tmp_path / "trace"))
    assert (found["requests"], found["left_out"]) == (requests, left_out)


def test_slo_of_the_command_line_counts_and_one_that_cannot_be_met_is_said() -> None:
    found = data(*SHORTEST, "--slo", "ttft_s=0.001", "--replicas", "1-2")
    assert found["slo"] == {"ttft_s": 0.001, "itl_s": 0.1, "quantile": 0.9}
    assert "No number of replicas meets slo.ttft_s 0.001" in found["answers"][0]
    assert "No fixed number" in found["answers"][1]


def test_objectives_that_the_command_line_leaves_out_are_the_models_own() -> None:
    found = data(*SHORTEST, "--slo", "ttft_s=2", "--set", "models.llama-4-scout.slo={itl_s: 0.05, quantile: 0.95}")
    assert found["slo"] == {"ttft_s": 2, "itl_s": 0.05, "quantile": 0.95}


def test_file_that_may_not_be_written_is_told_before_anything_is_simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda _, mode: mode != os.W_OK)
    said = run(CONFIG, *SHORT, "--out", str(tmp_path / "report.html"))
    assert (said.exit_code, said.stdout) == (1, "")
    assert "report.html cannot be written: it may not be written by you" in " ".join(said.output.split())


def test_figures_of_a_load_of_seconds_do_not_contradict_each_other() -> None:
    words = " ".join(run(CONFIG, *SHORTEST).stdout.split())
    assert "180 requests in 30 s, 6.0 a second on average." in words
    assert "0.0 GPU-hours" not in words
    assert "busiest minute" not in words


def test_busiest_minute_is_the_busiest_wherever_it_begins() -> None:
    assert " a second on average and 5.0 in the busiest minute (1:30 min)." in " ".join(
        run(CONFIG, "--load", "flash:0,5@90+60/200").stdout.split()
    )


def test_cheapest_gpu_is_not_named_where_one_has_no_price() -> None:
    answers = data(*SHORTEST, "--gpu", "H100=2.5", "--gpu", "H200")["answers"]
    assert not any("The cheapest that keeps" in one for one in answers)
    assert "give each GPU its price" in answers[-1]


def test_replicas_that_come_too_late_are_told_apart_from_too_few_of_them() -> None:
    late, few = (data("--load", "step:1@60,24@120", "--replicas", most)["answers"][1] for most in ("1-8", "1-2"))
    assert "replicas came too late, for a start takes about 120 s. Raise scaling.min_replicas" in late
    assert "raise scaling.max_replicas or --replicas" in few


def test_starts_from_zero_are_said_to_be_left_out() -> None:
    zero, one = (run(CONFIG, *SHORTEST, "--set", f"models.llama-4-scout.scaling.min_replicas={least}").stdout for least in (0, 1))
    assert "Starts from zero are not simulated: min_replicas 0 counts as 1." in zero
    assert "from zero" not in one


def test_first_seconds_of_a_load_can_be_taken() -> None:
    assert data("--load", "week:1", "--first-s", "120")["seconds"] == 120


def test_ray_runs_its_own_rule() -> None:
    rules = [
        run["rule"]
        for run in data(*SHORTEST, "--compare", "ray", "--compare", "keda", "--compare", "keda-llmd", "--compare", "llmd-slo")["runs"]
    ]
    assert rules[2:] == ["ray", "keda", "keda-llmd", "llmd-slo"]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "either --trace FILE or --load LOAD"),
        ((*SHORT, "--trace", "x"), 2, "either --trace FILE or --load LOAD"),
        ((*SHORT, "--slo", "ttft=3"), 2, "'ttft' is no objective of a simulation: there are ttft_s, itl_s, quantile"),
        ((*SHORT, "--slo", "availability=0.9"), 2, "'availability' is no objective of a simulation"),
        ((*SHORT, "--slo", "ttft_s=3,ttft_s=4"), 2, "has an objective twice"),
        ((*SHORT, "--gpu", "H100=1", "--gpu", "H100=2"), 1, "--gpu H100 is there twice"),
        ((*SHORT, "--out", "/nowhere/report.html"), 1, "--out /nowhere/report.html cannot be written: the folder /nowhere is not there"),
        ((*SHORT, "--json", "/"), 1, "--json / cannot be written: it is a folder"),
        (("--load", "step:"), 1, "--load 'step:' is none of these loads; write for example step:2@330,4@360"),
        (("--load", "flash:2,20@300+60/60"), 1, "ends at second 60, before its change at 300"),
        (("--load", "mix:2@300/300"), 1, "ends at second 300, before its change at 300"),
        (("--trace", "/"), 1, "--trace / cannot be read: is a folder"),
        ((*SHORT, "--slo", "ttft_s=-1"), 2, "ttft_s: Input should be greater than 0"),
        ((*SHORT, "--slo", "fast"), 2, "is no objective"),
        ((*SHORT, "--replicas", "8-1"), 2, "is no range of replicas"),
        ((*SHORT, "--replicas", "1-9999"), 2, "at most 1,024"),
        ((*SHORT, "--gpu", "H100=cheap"), 2, "is no GPU with its price"),
        ((*SHORT, "--gpu", "H101"), 1, "the GPU 'H101' is not known"),
        ((*SHORT, "--gpu", "L4"), 1, "models[0] does not fit L4"),
        ((*SHORT, "--model", "other"), 1, "--model 'other' is not in the config"),
        ((*SHORT, "--compare", "hpa"), 1, "known are static:N, ray:N, keda"),
        ((*SHORT, "--compare", "static:0"), 1, "needs a whole number from 1 to 1,024"),
        ((*SHORT, "--set", "models.llama-4-scout.parallel.pipeline=2"), 1, "models[0].parallel.pipeline"),
        ((*SHORT, "--set", "models.llama-4-scout.prefill={replicas: 1}"), 1, "models[0].prefill"),
        ((*SHORT, "--set", "models.llama-4-scout.replicas=x"), 3, "replicas"),
        (("--load", "flood:1"), 1, "begins with one of step:, ramp:, flash:, mix:, week:"),
        (("--load", "step:1000000@1000000"), 1, "has more than 2,000,000 requests"),
        (("--load", "step:0@60"), 1, "has no request"),
        (("--load", "step:0.0001@9999999"), 1, "lasts longer than 31 days"),
        (("--load", "step:2@60", "--prompt", "4M"), 1, "no request of the load fits"),
        (("--trace", "nowhere.csv"), 1, "nowhere.csv"),
    ],
)
def test_wrong_words_are_told_with_their_field_and_the_way_out(words: tuple[str, ...], code: int, says: str) -> None:
    said = run(CONFIG, *words)
    assert said.exit_code == code, said.output
    assert says in " ".join(said.output.replace("│", " ").split())


def test_file_that_is_no_trace_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("when,what\n1,2\n", encoding="utf-8")
    said = run(CONFIG, "--trace", str(tmp_path / "a.csv"))
    assert said.exit_code == 1
    assert "at_s, prompt_tokens, output_tokens are wanted" in " ".join(said.output.split())


def test_config_without_a_known_gpu_is_told_to_name_one() -> None:
    said = run(str(ROOT / "configs" / "local.yaml"), *SHORT, "--model", "llama-4-scout-tiny")
    assert said.exit_code == 1
    assert "models[1]: the planner does not know its speed where it runs" in " ".join(said.output.split())


def test_rules_are_made_anew_for_each_simulation_and_named_once() -> None:
    rules = compared(["keda", "keda", "static:4"], Slo(3.0, 0.1), (1, 8), 24)
    assert [(one.name, one.fixed) for one in rules] == [("keda", None), ("static:4", 4)]
    assert rules[0].made() is not rules[0].made()
    with pytest.raises(UnknownRule):
        compared(["static:²"], Slo(3.0, 0.1), (1, 8), 24)
