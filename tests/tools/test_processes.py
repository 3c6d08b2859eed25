"""A process that ends while somebody looks at it has no words, and is no error."""

import os
import subprocess
import sys

import psutil

from tests.processes import descendants, environment, words


def test_running_process_has_words_an_environment_and_children() -> None:
    command = [sys.executable, "-c", "input()", "a mark"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=os.environ | {"MARK": "of ours"}) as child:
        process = psutil.Process(child.pid)
        assert words(process).endswith("-c input() a mark")
        assert environment(process)["MARK"] == "of ours"
        assert process in descendants(psutil.Process())
        child.communicate(b"\n", timeout=30)


def test_process_that_has_ended_has_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        process = psutil.Process(child.pid)
        child.wait(timeout=30)
    assert (words(process), environment(process), descendants(process)) == ("", {}, [])
