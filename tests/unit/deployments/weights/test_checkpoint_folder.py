"""Whether a folder has a whole checkpoint, by names and headers alone."""

import json
from pathlib import Path

import pytest

from deployments.weights.checkpoint_folder import why_damaged, why_no_checkpoint


def weights(*offsets: tuple[int, int], length: int) -> bytes:
    """A file of safetensors with tensors at these offsets, and so many bytes of data."""
    header = {"__metadata__": {"format": "pt"}} | {str(number): {"data_offsets": one} for number, one in enumerate(offsets)}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(length)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").touch()
    return tmp_path


def test_whole_checkpoint_and_a_name_at_the_hub_have_no_fault(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(weights((0, 40), (40, 64), length=64))
    (folder / "file.gguf").touch()
    for there in (str(folder), str(folder / "file.gguf"), "meta-llama/Llama-4-Scout-17B-16E-Instruct", "small:a"):
        assert why_no_checkpoint(there) == ""


def test_folder_that_is_not_there_or_is_of_another_form_is_told(tmp_path: Path) -> None:
    assert "is not there. Correct `checkpoint`" in why_no_checkpoint(f"{tmp_path}/nothing")
    assert "has no config.json" in why_no_checkpoint(str(tmp_path))


def test_folder_that_this_user_may_not_see_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    assert why_no_checkpoint("/models/scout").startswith("/models/scout may not be read by this user.")


def test_link_that_leads_nowhere_and_disk_that_fails_are_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "lost.safetensors").symlink_to(folder / "blobs" / "0")
    assert why_no_checkpoint(str(folder)).startswith(f"{folder}/lost.safetensors is a link to a file that is not there.")

    def fail(path: Path) -> bool:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "exists", fail)
    assert why_no_checkpoint("/models/scout") == "/models/scout cannot be read: Input/output error."


def test_file_without_tensors_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert not why_damaged(file)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (weights((0, 64), length=63), "is incomplete: it has 137 of 138 bytes."),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n", "is a pointer of Git LFS"),
        (b"", "is no file of safetensors (0 bytes)"),
        (b"<html>Not found</html>", "is no file of safetensors (22 bytes)"),
        ((4).to_bytes(8, "little") + b"nope", "is no file of safetensors"),
        ((6).to_bytes(8, "little") + b'{"a":1}', "is no file of safetensors"),
        ((7).to_bytes(8, "little") + b'{"a":1}', "is no file of safetensors"),
        ((2).to_bytes(8, "little") + b"[]", "is no file of safetensors"),
    ],
)
def test_damaged_file_is_told(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    assert why in why_damaged(file)


def test_many_damaged_files_are_counted(folder: Path) -> None:
    for number in range(5):
        (folder / f"model-{number}.safetensors").touch()
    said = why_no_checkpoint(str(folder))
    assert said.startswith(f"{folder}/model-0.safetensors is no file")
    assert said.endswith("And 2 more.")
