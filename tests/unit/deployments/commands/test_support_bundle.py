"""`herd support-bundle`: what is in it, that no secret is, its size, its mode, and that it comes where nothing answers."""

import hashlib
import json
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from configs.keys import derived
from configs.load import environment, parse
from deployments.commands.describing.bundle import archive
from deployments.commands.describing.bundle.archive import Missing, Part, Source, gathered, write
from deployments.commands.describing.bundle.logs import line_ends, log_ends
from deployments.commands.describing.bundle.redaction import REMOVED, redacted, secrets_in, without_commands
from deployments.commands.describing.bundle.sources import of_the_config, of_the_gateway, secrets_of
from deployments.commands.describing.support_bundle import contents
from deployments.lifecycle.herd import Herd
from deployments.policy.records.log_lines import GATEWAY, MODEL, RAY, Line, Query
from tests.unit.command_line import invoke

ROOT = "0123456789abcdef" * 4
CONFIG = """
name: mine
cluster: {secret_command: echo hunter2-of-the-config}
models: [{id: small, kind: smollm2-135m, checkpoint: 'small:smollm2-135m-instruct', context_tokens: 2048, accelerator: cpu}]
"""


def read(path: Path) -> dict[str, str]:
    """The files of a bundle, by their paths in it."""
    with tarfile.open(path) as bundle:
        return {one.name.partition("/")[2]: bundle.extractfile(one).read().decode() for one in bundle}  # type: ignore[union-attr]


def run(folder: Path, *words: str, **env: str | None) -> Any:
    given = {"HERD_STATE": str(folder), "HERD_SECRET": None, **env}
    return invoke(["support-bundle", "--output", str(folder / "out.tar.gz"), *words], env=given)


def up(folder: Path) -> Herd:
    """A herd that this user has brought up, and whose Ray is gone."""
    config = parse(CONFIG, "test")
    (folder / "mine").mkdir()
    (folder / "mine" / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    (folder / "mine" / "secret").write_text(f"{ROOT}\n", encoding="utf-8")
    (folder / "mine" / "ray-token").write_text("token-of-ray-0123456789", encoding="utf-8")
    (folder / "mine" / "ray.log").write_text(f"it began with {ROOT}\nand token-of-ray-0123456789\n", encoding="utf-8")
    return Herd(folder / "mine", config)


def test_bundle_of_a_herd_that_does_not_answer_has_what_there_is_and_says_what_is_not(tmp_path: Path) -> None:
    up(tmp_path)
    done = run(tmp_path, HF_TOKEN="hf-planted-in-the-environment")
    assert done.exit_code == 0, done.stderr
    files = read(tmp_path / "out.tar.gz")
    assert {"manifest.json", "versions.json", "machine.json", "config.yaml", "plan.json", "ray-start.log"} <= files.keys()
    manifest = json.loads(files["manifest.json"])
    assert {one["path"] for one in manifest["files"]} == files.keys() - {"manifest.json"}
    for one in manifest["files"]:
        data = files[one["path"]].encode()
        assert (one["bytes"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert {one["about"] for one in manifest["missing"]} >= {
        "the page /health",
        "the page /-/status",
        "Ray Serve's status, and the doctor's report",
        "logs of this node",
    }
    assert "Not in it: the page /health" in done.stderr
    assert "out.tar.gz: " in done.stdout
    assert stat.S_IMODE((tmp_path / "out.tar.gz").stat().st_mode) == 0o600
    whole = "".join(files.values())
    for secret in (ROOT, derived(ROOT, "door"), "token-of-ray", "hunter2", "hf-planted"):
        assert secret not in whole
    assert "small:smollm2-135m-instruct" in files["config.yaml"]


def test_machine_without_a_herd_has_a_bundle_too(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.exit_code == 0, done.stderr
    assert read(tmp_path / "out.tar.gz").keys() == {"manifest.json", "versions.json", "machine.json"}
    assert "No herd is up." in done.stderr
    assert "No herd named 'other' is up." in run(tmp_path, "--name", "other").stderr


def test_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.tar.gz").write_text("mine", encoding="utf-8")
    assert "is there already. Name another file with --output." in run(tmp_path).stderr
    assert (tmp_path / "out.tar.gz").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    "text",
    [
        "authorization: Bearer SECRETSECRET",
        "Authorization: Basic SECRETSECRET==",
        "HF_TOKEN=SECRETSECRET",
        '"HERD_DOOR_KEY": "SECRETSECRET"',
        '{\\"api_key\\": \\"SECRETSECRET\\"}',
        "password: 'SECRETSECRET'",
        'ray start --redis-password="SECRETSECRET" --head',
        "ray start --redis-password SECRETSECRET --head",
        "redis://user:SECRETSECRET@10.0.0.1:6379",
        "hf_SECRETSECRETabc",
        "sk-SECRETSECRET123",
        "AKIASECRETSECRET12",
        "-----BEGIN EC PRIVATE KEY-----\nSECRETSECRET\n-----END EC PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nSECRETSECRET, cut off",
        "known: SECRETSECRET-known",
    ],
)
def test_secret_is_taken_out(text: str) -> None:
    found = redacted(f"before {text}\n after", {"SECRETSECRET-known"})
    assert "SECRETSECRET" not in found
    assert REMOVED in found
    assert found.startswith("before ")


def test_other_words_stay() -> None:
    text = "12 tokens, tokenizer: /models/x, key_length: 12, http://10.0.0.1:8000/v1, GPU KV cache size: 400,000 tokens"
    assert redacted(text, set()) == text


def test_json_stays_json() -> None:
    said = {"key": 12345678, "b": {"my_token": "SECRETSECRET", "password": None, "secret": 1234567.5}}
    assert json.loads(redacted(json.dumps(said), set())) == {"key": 12345678, "b": {**said["b"], "my_token": REMOVED}}  # type: ignore[dict-item]
    assert json.loads(redacted(json.dumps(said, indent=1), set()))["b"]["my_token"] == REMOVED


def test_commands_that_print_secrets_are_taken_out_wherever_they_stand() -> None:
    config = {
        "cluster": {"secret_command": "echo a", "secrets": {"HF_TOKEN": {"command": "echo b", "file": None}}},
        "models": [{"id": "c"}],
    }
    assert without_commands(config) == {
        "cluster": {"secret_command": REMOVED, "secrets": {"HF_TOKEN": {"command": REMOVED, "file": None}}},
        "models": [{"id": "c"}],
    }


def test_secrets_are_known_by_the_names_of_variables_and_by_the_herds_files(tmp_path: Path) -> None:
    assert secrets_in({"MY_TOKEN": "long-enough", "TOKEN_PATH": "/a/path", "KEY": "short", "HOME": "long-enough-too"}) == {"long-enough"}
    herd = up(tmp_path)
    assert {ROOT, derived(ROOT, "pages"), "token-of-ray-0123456789"} <= secrets_of(herd, environment({}))
    assert derived(ROOT, "door") in secrets_of(None, environment({"HERD_SECRET": ROOT}))
    assert "weak" in secrets_of(None, environment({"HERD_SECRET": "weak"}))


def test_logs_are_the_ends_of_the_newest_within_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index, name in enumerate(("old.log", "serve/new.log")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f"line {number}\n" for number in range(100)), encoding="utf-8")
        path.touch()
        os.utime(path, (index, index))
    (tmp_path / "link.log").symlink_to("/etc/passwd")
    (tmp_path / "empty.log").touch()
    found = list(log_ends(tmp_path, "logs", 1 << 20))
    assert [one.path for one in found] == ["logs/serve/new.log", "logs/old.log"]
    (short,) = log_ends(tmp_path, "logs", 50)
    assert short.text.endswith("line 99\n")
    assert short.text.startswith("line 9"), "from the beginning of a line on"
    assert len(short.text) <= 50
    with pytest.raises(FileNotFoundError):
        list(log_ends(tmp_path / "nowhere", "logs", 1))


def test_part_that_is_too_large_keeps_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 10)
    write(tmp_path / "x.tar.gz", [Part("a", "about", "0123456789the end")], [], set(), 0)
    assert read(tmp_path / "x.tar.gz")["a"] == "[the first part is left out]\n789the end"


def test_bundle_that_cannot_be_finished_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        write(tmp_path / "x.tar.gz", [Part("a", "about", "\ud800")], [], set(), 0)
    assert list(tmp_path.iterdir()) == []


def test_source_that_fails_costs_no_other_one() -> None:
    def broken() -> list[Part]:
        raise ValueError("with s3cret-value")

    said: list[str] = []
    parts, missing = gathered([Source("one", broken), Source("two", lambda: [Part("b", "", "")])], said.append)
    assert (parts, missing, said) == ([Part("b", "", "")], [Missing("one", "ValueError: with s3cret-value")], ["one", "two"])


def test_table_has_a_row_for_each_file_and_one_for_all_logs(tmp_path: Path) -> None:
    table = contents([Part("a", "about a", "x" * 2048), Part("logs/x", "", "x"), Part("logs/y", "", "x")])
    assert table.row_count == 2


def test_pages_with_a_key_are_not_asked_for_without_a_connection_which_would_start_a_ray(tmp_path: Path) -> None:
    cluster = Herd(tmp_path, parse(f"ray: {{address: 'auto'}}\ngateway: {{host: 0.0.0.0}}\n{CONFIG}", "test"))
    assert {one.about for one in of_the_gateway(cluster, connected=False)} == {"the page /health", "the page /v1/models"}
    assert len(of_the_gateway(cluster, connected=True)) == 4


def test_plan_of_the_config_is_in_it(tmp_path: Path) -> None:
    parts, missing = gathered(of_the_config(up(tmp_path)), lambda _: None)
    assert not missing
    (plan,) = [one for one in parts if one.path == "plan.json"]
    assert json.loads(plan.text)["models"][0]["model"] == "small"


def told_by_nodes(query: Query) -> tuple[list[Line], list[str]]:
    """Two nodes with a replica each, and a third one that does not answer the first question."""
    lines = {
        MODEL: [Line(1.0, "n1", "scout", "r1", "oldest"), Line(4.0, "n2", "scout", "../r2", "newest")],
        GATEWAY: [Line(2.0, "n1", "", "g1", "second")],
        RAY: [Line(3.0, "n2", "", "raylet", "third"), Line(3.5, "n2", "", "raylet", "fourth")],
    }
    return lines[query.what], ["n3"] if query.what == MODEL else []


def test_lines_of_all_nodes_become_a_file_for_each_replica_and_process() -> None:
    parts, silent = line_ends(told_by_nodes, "logs", 1 << 20)
    assert {part.path: part.text for part in parts} == {
        "logs/n1/g1.log": "1970-01-01T00:00:02Z second\n",
        "logs/n1/scout/r1.log": "1970-01-01T00:00:01Z oldest\n",
        "logs/n2/raylet.log": "1970-01-01T00:00:03Z third\n1970-01-01T00:00:03Z fourth\n",
        "logs/n2/scout/_r2.log": "1970-01-01T00:00:04Z newest\n",
    }
    assert silent == ["n3"]


def test_oldest_lines_of_all_nodes_are_left_out_first() -> None:
    parts, _ = line_ends(told_by_nodes, "logs", 60)
    assert [part.path for part in parts] == ["logs/n2/raylet.log", "logs/n2/scout/_r2.log"]
    assert line_ends(told_by_nodes, "logs", 0)[0] == []
