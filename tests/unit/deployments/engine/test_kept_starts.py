"""The next start of an engine on a node finds what an earlier one there compiled and measured."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engine.vllm.kept_starts import folders, settle, with_memory, without_ports


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in folders(Path("/")):
        monkeypatch.setenv(name, "")  # so that what `settle` sets is taken back
        monkeypatch.delenv(name)


def test_engine_keeps_what_it_compiles_in_the_folder_of_the_herd(tmp_path: Path) -> None:
    settle(tmp_path / "herd")
    assert {name: os.environ[name] for name in folders(Path("/"))} == folders(tmp_path / "herd")
    assert os.environ["VLLM_CACHE_ROOT"] == str(tmp_path / "herd" / "vllm")


def test_environment_of_the_node_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/elsewhere")
    monkeypatch.setenv("VLLM_ENABLE_STARTUP_PLAN", "0")
    settle(tmp_path)
    assert (os.environ["VLLM_CACHE_ROOT"], os.environ["VLLM_ENABLE_STARTUP_PLAN"]) == ("/elsewhere", "0")


def test_folder_that_cannot_be_there_leaves_vllm_its_own(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    settle(tmp_path / "file" / "herd")
    assert "VLLM_CACHE_ROOT" not in os.environ


def test_folder_of_somebody_else_leaves_vllm_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    settle(tmp_path)
    assert "VLLM_CACHE_ROOT" not in os.environ


def test_ports_are_not_in_the_key_of_compiled_code() -> None:
    assert without_ports(lambda: {"VLLM_NIXL_SIDE_CHANNEL_PORT": 20001, "VLLM_USE_AOT_COMPILE": True})() == {"VLLM_USE_AOT_COMPILE": True}


def config(share: float = 0.9, images: dict[str, int] | None = None, is_text: bool = False) -> Any:
    media = None if images is None else SimpleNamespace(language_model_only=is_text, limit_per_prompt=images)
    return SimpleNamespace(
        cache_config=SimpleNamespace(gpu_memory_utilization=share), model_config=SimpleNamespace(multimodal_config=media)
    )


def test_memory_plan_has_all_in_its_key_that_changes_the_memory() -> None:
    told = with_memory(lambda _, rank, size: f"vllm {rank} of {size}")
    keys = [
        told(config(), 0, 2),
        told(config(), 1, 2),
        told(config(0.8), 0, 2),
        told(config(images={"image": 1}), 0, 2),
        told(config(images={"image": 2}), 0, 2),
        told(config(images={"image": 2}, is_text=True), 0, 2),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == told(config(), 0, 2)
