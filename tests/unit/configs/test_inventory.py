"""What an inventory says about its nodes: plain variables, secrets, folders and devices; and what it refuses, by field."""

import json
from typing import Any

import pytest

from cluster.planner.config_problems import problems
from configs.inventory import Inventory
from configs.load import parse
from tests.unit.machines import HOSTS

HERD = "models: [{id: a, kind: llama-3-8b, checkpoint: x, context_tokens: 512}]"


def parsed(**fields: Any) -> Inventory:
    found = parse(f"cluster: {json.dumps(fields)}\n{HERD}", "herd.yaml", problems).cluster
    assert found is not None
    return found


def test_numbers_are_texts_in_an_environment_and_nothing_is_expanded() -> None:
    given = parsed(environment={"NCCL_IB_GID_INDEX": 3, "HF_HOME": "/cache/$USER", "EMPTY": ""})
    assert given.environment == {"NCCL_IB_GID_INDEX": "3", "HF_HOME": "/cache/$USER", "EMPTY": ""}


@pytest.mark.parametrize(
    ("fields", "path", "sentence"),
    [
        ({"environment": {"HF_TOKEN": "hf_x"}}, "cluster.environment", "HF_TOKEN is a secret by its name"),
        ({"onprem": HOSTS | {"environment": {"AWS_SECRET_ACCESS_KEY": "x"}}}, "cluster.onprem.environment", "put it under cluster.secrets"),
        ({"environment": {"VLLM_HOST_IP": "10.0.0.1"}}, "cluster.environment", "is another one on each node"),
        ({"environment": {"HERD_DOOR_KEY": "x"}}, "cluster.environment", "is made of the herd's secret on every node"),
        ({"environment": {"A-B": "x"}}, "cluster.environment.A-B", "is not of the right form"),
        ({"environment": {"A": "two\nlines"}}, "cluster.environment.A", "one line of printable"),
        ({"environment": {"A": True}}, "cluster.environment.A", "true is a word of YAML"),
        ({"secrets": {"HERD_SECRET": {"file": "/s"}}}, "cluster.secrets", "has a field of its own: secret_command"),
        ({"secrets": {"RAY_AUTH_TOKEN": {"file": "/s"}}}, "cluster.secrets", "is made of the herd's secret on every node"),
        ({"secrets": {"HF_TOKEN": {}}}, "cluster.secrets.HF_TOKEN", "give one of command and file"),
        ({"secrets": {"HF_TOKEN": {"file": "/s", "command": "cat /s"}}}, "cluster.secrets.HF_TOKEN", "give one of command and file"),
        ({"secrets": {"HF_TOKEN": {"fil": "/s"}}}, "cluster.secrets.HF_TOKEN.fil", "did you mean 'file'? allowed here: command, file"),
        ({"secrets": {"A": {"file": "/s"}}, "environment": {"A": "b"}}, "cluster", "A: give it under secrets or under environment"),
        ({"mounts": ["~/.cache/huggingface"]}, "cluster.mounts[0]", "must be an absolute path (got '~/.cache/huggingface')"),
        ({"mounts": ["/a", "relative"]}, "cluster.mounts[1]", "must be an absolute path"),
        ({"mounts": ["/a:/b"]}, "cluster.mounts[0]", "is not of the right form"),
        ({"devices": ["/etc/passwd"]}, "cluster.devices[0]", "is not of the right form"),
        ({"run_options": ["rm -rf /"]}, "cluster.run_options[0]", "is not of the right form"),
    ],
)
def test_what_cannot_work_is_refused_by_its_field(fields: dict[str, Any], path: str, sentence: str) -> None:
    with pytest.raises(ValueError, match="cannot be used") as refused:
        parsed(**fields)
    assert any(line.strip().startswith(f"{path}: ") and sentence in line for line in str(refused.value).splitlines()), str(refused.value)


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "HF_TOKEN_PATH", "NCCL_DEBUG", "PRICE"])
def test_name_that_only_resembles_a_secrets_is_plain(name: str) -> None:
    assert parsed(environment={name: "x"}).environment == {name: "x"}
