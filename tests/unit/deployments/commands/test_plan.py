"""`herd plan` as it is typed, and what `herd up` asks first."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.planner.choice.record import KEYS_OF_HERDS, KEYS_OF_PLANS
from cluster.planner.config_problems import problems
from configs.load import parse
from configs.token_counts import token_count
from deployments import __main__ as entry
from deployments.commands.plan import plan
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError
from tests.unit.cluster.catalogue.test_config_shape import LLAMA
from tests.unit.cluster.planner.test_herd_fit import MAVERICK, maverick
from tests.unit.command_line import invoke
from tests.unit.machines import ROOT
from tests.unit.samples import config, model

app = typer.Typer()
app.command()(plan)
CONFIGS = ROOT / "configs"


def run(*words: str) -> Any:
    return invoke(words, app=app)


def as_json(*words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(*words, "--json").stdout)
    return found


def test_json_is_a_list_best_first() -> None:
    found = as_json("llama-4-scout", "--gpu", "h100", "--context", "1M", "--quantization", "bf16")
    assert all(plan.keys() == set(KEYS_OF_PLANS) for plan in found)
    assert (found[0]["fits"], found[0]["quantization"]) == (True, "bf16")
    assert found[0]["max_context_tokens"] >= 1_048_576
    assert not found[-1]["fits"]
    assert found[-1]["problems"]


def test_pinned_shape_in_the_settings_of_a_published_figure() -> None:
    words = "--gpu h100 --gpus 8 --nodes 1 --quantization fp8 --kv-dtype bf16 --tensor 8 --pipeline 1 --data 1 --no-hybrid-kv"
    (found,) = as_json("llama-4-maverick", *words.split(), "--gpu-memory-utilization", "0.9", "--vllm", "0.8.3")
    assert found["max_context_tokens"] == pytest.approx(430_000, rel=0.1)


def test_table_shows_what_a_person_asks_for() -> None:
    found = run("scout", "--price", "2.5", "--concurrency", "8", "--cheapest")
    assert found.exit_code == 0
    assert all(word in found.stdout for word in ("GPUs", "longest", "tok/s", "per 1M", "Best: ", "TP8", "±20 %", "because"))


def test_refusal_is_one_sentence_and_an_exit_code() -> None:
    found = run("llama-4-maverick", "--quantization", "bf16")
    assert found.exit_code == 1
    sentence = "Llama 4 Maverick BF16 needs 748 GiB of weights; 8×H100 have 634: use FP8 (388 GiB) or 2 nodes with PP 2"
    assert found.stderr.strip() == f"✗ {sentence}"
    assert found.stdout == ""


def test_arithmetic_is_explained_with_sources() -> None:
    found = run("llama-4-maverick", "--quantization", "fp8", "--tensor", "8", "--explain")
    assert found.exit_code == 0
    assert all(word in found.stdout for word in ("388.01 GiB", "startup logs of", "sampler", "kv_cache_utils.py"))
    assert run("llama-4-maverick", "--quantization", "bf16", "--explain").exit_code == 1


def test_emitted_config_is_one_that_herd_up_takes() -> None:
    found = run("llama-4-scout", "--node", "dgx-h200", "--nodes", "2", "--quantization", "fp8", "--emit")
    herd = parse(found.stdout, "emitted.yaml", problems)
    assert (herd.models[0].kind, herd.models[0].quantization) == ("llama-4-scout", "fp8")
    nothing = run("llama-4-maverick", "--quantization", "bf16", "--emit")
    assert (nothing.exit_code, nothing.stdout) == (1, "")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (
            ["llama-4-behemoth"],
            1,
            "has not been released: there is no checkpoint to deploy. To plan for a guess, give a folder with a config.json",
        ),
        (["prompt-guard-2-22m"], 1, "it has no engine; name a Llama Guard as a model instead"),
        (["lama-4-scout"], 1, "is not a model, a repository or a folder that is known; did you mean llama-4-scout?"),
        (["zzz"], 1, "that is known. Models: llama-4-scout"),
        (["llama-4-scout", "--gpu", "v100"], 1, "the GPU 'v100' is not known; did you mean H100? known GPUs: H100, H100-PCIe"),
        (["llama-4-scout", "--node", "dgx-1"], 1, "the node 'dgx-1' is not known; known nodes: dgx-h100"),
        (["llama-4-scout", "--gpus", "16"], 1, "a node has at most 8 GPUs: say --gpus 8 --nodes 2"),
        (["llama-4-scout", "--quantization", "q8"], 2, "none of bf16, fp8, int8, int4, nvfp4"),
        (["llama-4-scout", "--context", "long"], 2, "is not a number of tokens"),
        (["llama-4-scout", "--vllm", "new"], 2, "is no version of vLLM; write 0.29"),
        (["none.yaml"], 3, "cannot be read"),
    ],
)
def test_what_cannot_be_planned_is_said(words: list[str], code: int, sentence: str) -> None:
    found = run(*words)
    assert found.exit_code == code
    assert sentence in " ".join(found.stderr.replace("│", " ").split())


@pytest.mark.parametrize(("text", "count"), [("131072", 131_072), ("128K", 131_072), ("1M", 1_048_576), ("10m", 10_485_760), ("0.5k", 512)])
def test_tokens_as_people_write_them(text: str, count: int) -> None:
    assert token_count(text) == count


@pytest.mark.parametrize("text", ["", "K", "1G", "-1", "0", "1 M"])
def test_what_is_no_number_of_tokens(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number of tokens"):
        token_count(text)


def test_repository_pins_its_own_weights() -> None:
    assert {plan["quantization"] for plan in as_json("RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16")} == {"int4"}


def test_folder_is_planned_from_its_own_config(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert as_json(str(tmp_path), "--tensor", "1")[0]["weights_gib_per_gpu"] == pytest.approx(14.957, abs=0.001)
    assert "cannot be emitted" in run(str(tmp_path), "--emit").stderr


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        (None, 1, "there is no config.json in"),
        ("{", 3, "cannot be read as JSON"),
        ("[]", 3, "is not a JSON object"),
        ('{"model_type": "gpt2"}', 1, "cannot be planned for: model_type is 'gpt2'"),
    ],
)
def test_folder_that_says_nothing_of_use_is_refused(tmp_path: Path, text: str | None, code: int, sentence: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    found = run(str(tmp_path))
    assert found.exit_code == code
    assert sentence in found.stderr


def test_whole_herd_is_checked_on_a_whole_cluster() -> None:
    (found,) = as_json(str(CONFIGS / "maverick-dgx.yaml"))
    assert found.keys() == set(KEYS_OF_HERDS)
    assert (found["model"], found["fits"], found["gpus"]) == ("llama-4-maverick", True, 8)
    assert run(str(CONFIGS / "herd.yaml")).exit_code == 0
    one_node = run(str(CONFIGS / "herd.yaml"), "--nodes", "1")
    assert one_node.exit_code == 1
    assert "the herd takes 15 GPUs on 2 nodes of 8; there are 1" in one_node.stderr
    other = run(str(CONFIGS / "maverick-dgx.yaml"), "--gpu", "a100")
    assert "it asks for H100, the cluster has A100" in other.stderr


def test_herd_without_gpus_is_legal_or_not() -> None:
    found = run(str(CONFIGS / "local.yaml"))
    assert found.exit_code == 0
    assert "no GPU known" in found.stdout


@pytest.mark.parametrize(
    ("stored", "weights"),
    [
        ({}, 14.957),
        ({"quantization_config": {"quant_method": "awq"}}, 5.334),
        ({"quantization_config": {"quant_method": "hqq"}}, 14.957),
        ({"num_hidden_layers": 16}, 8.457),
    ],
)
def test_folder_of_a_herds_model_is_believed_where_it_can_be_read(tmp_path: Path, stored: dict[str, Any], weights: float) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | stored))
    path = tmp_path / "herd.yaml"
    asked = {"id": "a", "kind": "llama-3.1-8b", "checkpoint": str(tmp_path), "accelerator": "H100", "context_tokens": 8192}
    path.write_text(yaml.safe_dump({"models": [asked]}))
    assert as_json(str(path))[0]["weights_gib_per_gpu"] == pytest.approx(weights, abs=0.001)


def test_what_options_cost_is_told_under_the_table(tmp_path: Path) -> None:
    path = tmp_path / "herd.yaml"
    asked = MAVERICK | {"context_tokens": 8192, "draft": {"checkpoint": "org/draft"}, "accelerator": "H200"}
    path.write_text(yaml.safe_dump({"models": [asked], "hardware": {"gpu": "H200", "nodes": 1}}))
    assert "maverick: the draft model leaves " in run(str(path)).stdout


def test_config_without_a_shape_that_fits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "herd.yaml"
    asked = MAVERICK | {"parallel": "auto", "context_tokens": 8192}
    path.write_text(yaml.safe_dump({"models": [asked], "hardware": {"gpu": "H100", "nodes": 1, "gpus_per_node": 2}}))
    found = run(str(path))
    assert found.exit_code == 1
    assert "maverick FP8 needs 388 GiB of weights; 2×H100 have 158" in found.stderr


#: What `herd plan` may import, so that it answers at once: packages of others, and the rooms of ours.
PACKAGES = {
    *("annotated_doc", "annotated_types", "pydantic", "pydantic_core", "rich", "shellingham", "typer", "typing_extensions"),
    *("typing_inspection", "cluster", "configs", "deployments"),
}
ROOMS = ("configs", "cluster.catalogue", "cluster.planner")
COMMANDS = {
    "deployments.lifecycle.fit",
    *(f"deployments.commands.{name}" for name in ("main", "plan", "plan_answers", "plan_tables", "terminal")),
}
#: Modules of these that take long, and that it does without.
SLOW = {
    *("rich.table", "rich.live", "rich.markdown", "rich.traceback", "rich._emoji_codes", "pydantic.v1"),
    *("configs.schema", "configs.load", "cluster.planner.herd_fit", "asyncio", "ssl", "multiprocessing", "unittest"),
}
PROGRAM = """
import sys
from deployments import __main__
sys.argv = ["herd", "plan", *sys.argv[1:]]
try:
    __main__.main()
except SystemExit:
    pass
print(*sorted(sys.modules), file=sys.stderr)
"""


def imported(*words: str) -> set[str]:
    """The modules that a command line brings in, beside those that Python and the environment begin with."""
    begun, ran = (
        subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True, cwd=CONFIGS.parent)
        for program in ("import sys; print(*sorted(sys.modules), file=sys.stderr)", PROGRAM)
    )
    assert ran.stdout
    return set(ran.stderr.split()) - set(begun.stderr.split())


@pytest.mark.parametrize("words", [["llama-4-scout"], ["llama-4-scout", "--json"], ["llama-3.1-8b", "--explain"]], ids=" ".join)
def test_plan_imports_only_what_it_needs(words: list[str]) -> None:
    found = imported(*words)
    tops = {name.partition(".")[0] for name in found if not name.startswith("_sysconfigdata")}
    assert tops <= PACKAGES | sys.stdlib_module_names
    ours = {name for name in found if name.partition(".")[0] in ("cluster", "configs", "deployments", "monitoring")}
    places = {"cluster", "deployments", "deployments.commands", "deployments.__main__", "deployments.lifecycle"}
    assert {name for name in ours if not name.startswith(ROOMS)} <= COMMANDS | places
    assert (
        found & (SLOW | {"configs.schema", "configs.load", "cluster.planner.herd_fit", "asyncio", "ssl", "multiprocessing", "unittest"})
        == set()
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [(["--help"], "validate"), (["validate", str(CONFIGS / "herd.yaml")], "is well formed"), (["plan", "--help"], "herd plan")],
    ids=["help", "validate", "plan"],
)
def test_other_commands_are_found_behind_the_same_entry(
    words: list[str], shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["herd", *words])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 0
    assert shown in capsys.readouterr().out


def test_package_is_run_as_the_program_is() -> None:
    ran = subprocess.run([sys.executable, "-m", "deployments", "plan", "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "herd plan" in ran.stdout


def test_explanation_names_the_limit_itself_where_two_have_the_same_part() -> None:
    """The KV pool ends the context of this engine as well, and that would need 236 GiB more."""
    told = run("llama-4-scout", "--gpus", "1", "--quantization", "int4", "--explain")
    assert "Limited by: KV pool; would have to grow by 2.9 GiB on each GPU for 64." in told.stdout


def planned(tmp_path: Path, force: bool = False, **fields: Any) -> Herd:
    return operate.planned(Herd(tmp_path, config(maverick(**fields))), force)


def test_herd_that_fits_is_brought_up_with_the_shape_that_was_chosen(tmp_path: Path) -> None:
    assert planned(tmp_path, parallel="auto").config.models[0].parallel.tensor == 8
    assert operate.planned(Herd(tmp_path, config(model())), force=False).config == config(model())


def test_herd_that_does_not_fit_is_brought_up_by_force_only(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"(?s)maverick: the weights take 97\.0 GiB.*--force starts the herd all the same"):
        planned(tmp_path, parallel={"tensor": 4})
    assert planned(tmp_path, force=True, parallel={"tensor": 4}).config.models[0].parallel.tensor == 4


def test_what_is_illegal_is_not_brought_up_by_force(tmp_path: Path) -> None:
    wrong = config(maverick(parallel={"tensor": 8}), hardware={"gpu": "A100"})
    with pytest.raises(OperationError, match="it asks for H100, the cluster has A100"):
        operate.planned(Herd(tmp_path, wrong), force=True)


def test_what_cannot_be_chosen_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="parallel: auto needs a GPU to choose for"):
        operate.planned(Herd(tmp_path, config(model(parallel="auto"))), force=True)


def test_data_parallel_attention_is_brought_up(tmp_path: Path) -> None:
    assert planned(tmp_path, parallel={"tensor": 8, "data": 2, "expert": True}).config.models[0].parallel.data == 2


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["llama-4-scout", "--nodes", "16"], 0, ""),
        (["llama-4-maverick", "--node", "dgx-h100", "--nodes", "16"], 0, ""),
        (["llama-3-8b", "--context", "16K", "--gpus", "1"], 1, "a context of 16,384 tokens is longer than the model takes (8,192)"),
        (["scout", "--context", "20M"], 1, "a context of 20,971,520 tokens is longer than the model takes (10,485,760)"),
        (["llama-4-scout", "--node", "dgx-h100", "--gpu", "A100"], 1, "--node dgx-h100 says already which GPUs and how many"),
        (["llama-4-scout", "--node", "p4d.24xlarge", "--gpus", "2"], 1, "leave --gpu and --gpus out"),
        (["llama-4-scout", "--gpus", "99999"], 1, "a node has at most 8 GPUs: and a cluster at most 4096 nodes"),
        (["llama-4-scout", "--gpu", "RTX4080"], 1, "did you mean RTX4090?"),
        (["llama-4-scout", "--json", "--explain"], 2, "answers of different forms"),
        (["llama-3.3-70b", "--gpu", "H100", "--quantization", "nvfp4", "--gpus", "1"], 0, ""),
        (["llama-3.1-8b", "--gpu", "RTX 3090", "--gpus", "1", "--kv-dtype", "fp8"], 0, ""),
        (["llama-3.2-11b-vision"], 1, "is served by vLLM no more"),
        (["generic"], 1, "has no shape of its own: give the folder with its config.json"),
        (["~nobody-has-this-home/x"], 1, "is not a model, a repository or a folder"),
        (["x" * 5000], 1, "is not a model, a repository or a folder"),
        (["llama-3.1-8b", "--context", "9" * 400], 2, "is not a number of tokens"),
    ],
)
def test_what_was_wrong_once(words: list[str], code: int, sentence: str) -> None:
    found = run(*words)
    assert (found.exit_code, found.exception if code == 0 else None) == (code, None)
    assert sentence in " ".join(found.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("name", "word", "gib"),
    [
        ("meta-llama/llama-3.1-8b-instruct", "bf16", 14.96),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "int4", 37.05),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "bf16", 14.96),
        ("unsloth/Llama-3.2-3B-Instruct", "bf16", 5.98),
        ("bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M", "int4", 40.2),
    ],
)
def test_repositories_of_others_are_planned_by_their_names(name: str, word: str, gib: float) -> None:
    found = as_json(name, "--tensor", "1", "--gpu", "H200")
    assert {plan["quantization"] for plan in found} == {word}
    assert found[0]["weights_gib_per_gpu"] == pytest.approx(gib, rel=0.01)


def test_folder_that_is_quantised_in_an_unknown_way_is_planned_by_the_operators_word(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA | {"quantization_config": {"quant_method": "hqq"}}))
    assert "say --quantization" in run(str(tmp_path)).stderr
    assert as_json(str(tmp_path), "--quantization", "int4", "--tensor", "1")[0]["weights_gib_per_gpu"] == pytest.approx(5.34, abs=0.01)


def test_options_that_a_herds_yaml_says_itself_are_refused() -> None:
    found = run(str(CONFIGS / "maverick-dgx.yaml"), "--tensor", "4", "--context", "1M", "--explain")
    assert found.exit_code == 2
    assert "--context, --explain, --tensor: a herd's YAML says that itself" in " ".join(found.stderr.replace("│", " ").split())


def test_older_version_of_vllm_is_planned_as_it_was() -> None:
    words = "--gpus 1 --quantization bf16 --kv-dtype bf16 --gpu-memory-utilization 0.9 --context 16000"
    older, newer = (as_json("llama-3.1-8b", *words.split(), "--vllm", version)[0]["kv_pool_tokens"] for version in ("0.11.0", "0.19"))
    assert older < newer


def test_engine_arguments_are_planned_with_and_emitted() -> None:
    words = ["llama-3.1-8b", "--gpus", "1", "--quantization", "bf16", "--kv-dtype", "bf16", "--context", "8K"]
    plain, eager = as_json(*words)[0], as_json(*words, "--engine", "enforce_eager=true", "--engine", "max-num-batched-tokens=2048")[0]
    assert eager["kv_pool_tokens"] > plain["kv_pool_tokens"]
    assert as_json(*words, "--engine", "num_gpu_blocks_override=1000")[0]["kv_pool_tokens"] < 17_000
    assert as_json(*words, "--engine", "quantization=fp8")[0]["weights_gib_per_gpu"] == pytest.approx(8.46, abs=0.01)
    assert as_json(*words[:-4], "--engine", "kv_cache_dtype=fp8", "--engine", "gpu_memory_utilization=0.5")[0]["fits"]
    herd = parse(run(*words, "--engine", "enforce_eager", "--engine", "cpu_offload_gb=2", "--emit").stdout, "emitted.yaml", problems)
    assert herd.models[0].engine == {"enforce_eager": True, "cpu_offload_gb": 2}
    assert run(*words, "--engine", "swap_space=4").exit_code == 2
    assert "use parallel.data" in run(*words, "--engine", "data_parallel_size=2").stderr


def test_herd_is_planned_for_an_older_version_too() -> None:
    now, then = (as_json(str(CONFIGS / "llama-3.3-70b.yaml"), *words)[0]["kv_pool_tokens"] for words in ((), ("--vllm", "0.11.0")))
    assert then != now


FLAGS = st.fixed_dictionaries(
    {},
    optional={
        "--gpu": st.sampled_from(["H100", "A10G", "rtx 4090", "MI300X", "x"]),
        "--gpus": st.integers(-1, 99),
        "--nodes": st.integers(0, 5000),
        "--node": st.sampled_from(["dgx-h100", "mi300x-8"]),
        "--quantization": st.sampled_from(["bf16", "fp8", "int8", "int4", "nvfp4", "q"]),
        "--kv-dtype": st.sampled_from(["bf16", "fp8"]),
        "--context": st.sampled_from(["1", "8K", "128K", "10M", "999999M", "-1", "0"]),
        "--concurrency": st.integers(0, 10**9),
        "--prompt": st.sampled_from(["1", "9999999M"]),
        "--answer": st.sampled_from(["1", "10M"]),
        "--price": st.floats(allow_nan=True),
        "--tensor": st.integers(0, 65),
        "--pipeline": st.integers(1, 64),
        "--data": st.integers(1, 64),
        "--gpu-memory-utilization": st.floats(-1, 2),
        "--max-num-seqs": st.integers(0, 10**7),
        "--engine": st.sampled_from(
            ["dtype=float32", "kv_cache_memory_bytes=1", "quantization=fp8", "hf_overrides={", "x=1", "=", "block_size=1e9"]
        ),
        "--vllm": st.sampled_from(["0.5", "0.8.3", "0.19.0", "0.29", "1", ""]),
    },
)
NAMES = st.sampled_from(
    ["llama-4-scout", "maverick", "llama-3.1-405b", "llama-guard-4-12b", "smollm2-135m", "org/Llama-3.1-8B-AWQ", ".", "", "?"]
)


@settings(max_examples=25, deadline=None)
@given(NAMES, FLAGS, st.sets(st.sampled_from(["--json", "--explain", "--emit", "--cheapest", "--expert", "--no-expert", "--no-hybrid-kv"])))
def test_no_command_line_ends_in_a_stack_trace(name: str, flags: dict[str, Any], switches: set[str]) -> None:
    found = run(name, *(word for flag, value in flags.items() for word in (flag, str(value))), *sorted(switches))
    assert found.exit_code in (0, 1, 2, 3)
    assert found.exception is None or isinstance(found.exception, SystemExit)
