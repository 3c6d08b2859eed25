"""Files that an operator names: files and pipes are read within bounds, and nothing is waited for without end."""

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest

from configs.given_files import CannotRead, CannotWrite, contents, write
from configs.load import ConfigError, read
from deployments.commands.simulating.requests import CannotRead as NoRequests
from deployments.commands.simulating.requests import from_file
from tests.unit.command_line import invoke

SILENT_S = 0.05


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def feeding(pipe: Path, *pieces: bytes) -> threading.Thread:
    """Writes pieces into a pipe, once somebody reads it."""

    def feed() -> None:
        with pipe.open("wb", buffering=0) as file, contextlib.suppress(BrokenPipeError):
            for piece in pieces:
                file.write(piece)

    thread = threading.Thread(target=feed, daemon=True)
    thread.start()
    return thread


def test_file_is_read_up_to_a_byte_more_than_may_be_in_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert [contents(tmp_path / "file", most) for most in (9, 5, 4, 2)] == [b"12345", b"12345", b"12345", b"123"]


def test_pipe_is_read_as_long_as_somebody_writes(pipe: Path) -> None:
    thread = feeding(pipe, b"models", b": []")
    assert contents(pipe, 100, 30) == b"models: []"
    thread.join(60)
    thread = feeding(pipe, *[b"x" * 4096] * 4096)
    assert len(contents(pipe, 100_000, 30)) == 100_001
    thread.join(60)
    assert not thread.is_alive()


def test_pipe_into_which_nobody_writes_is_given_up(pipe: Path) -> None:
    with pytest.raises(CannotRead, match=r"^is a pipe, and nobody wrote into it for 0.05 s$"):
        contents(pipe, 100, SILENT_S)
    silent = os.open(pipe, os.O_RDWR)
    try:
        with pytest.raises(CannotRead, match="nobody wrote into it"):
            contents(pipe, 100, SILENT_S)
    finally:
        os.close(silent)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        for path, why in ((tmp_path, "is a folder"), (tmp_path / "socket", "is a socket"), (Path("/dev/zero"), "is a device")):
            with pytest.raises(CannotRead, match=f"^{why}, and not a file$"):
                contents(path, 100)
    for path, why in ((tmp_path / "none", "No such file or directory"), (Path("a\0b"), "null")):
        with pytest.raises(CannotRead, match=why):
            contents(path, 100)


def test_commands_tell_of_a_pipe_into_which_nobody_writes(pipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "__defaults__", (SILENT_S,))
    with pytest.raises(ConfigError, match="cannot be read: is a pipe"):
        read(pipe)
    with pytest.raises(ConfigError, match="cannot be read: is a device"):
        read(Path("/dev/zero"))
    (tmp_path / "over.yaml").write_text("extends: pipe\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read: is a pipe"):
        read(tmp_path / "over.yaml")
    with pytest.raises(NoRequests, match="cannot be read: is a pipe"):
        from_file(pipe, None)
    refused = invoke(["models", "--url", "https://127.0.0.1:9", "--ca", str(pipe)])
    assert (refused.exit_code, "is not a file" in refused.stderr) == (1, True)


def test_file_is_written_over_or_anew(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write(path, "a longer text", anew=True)
    write(path, "ü")
    assert path.read_bytes() == "ü".encode()
    with pytest.raises(CannotWrite, match="File exists"):
        write(path, "x", anew=True)
    with pytest.raises(CannotWrite, match="Is a directory"):
        write(tmp_path, "x")


def test_pipe_that_nobody_reads_is_not_waited_for(pipe: Path) -> None:
    with pytest.raises(CannotWrite, match="is a pipe, and nobody reads from it"):
        write(pipe, "x")
    refused = invoke(["init", "--output", str(pipe), "--force"])
    assert (refused.exit_code, "nobody reads from it" in refused.stderr) == (1, True)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(pipe, "text")
        assert os.read(reader, 100) == b"text"
    finally:
        os.close(reader)
