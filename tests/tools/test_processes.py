"""A process that ends while somebody looks at it has no words, and is no error."""

import os
import subprocess
import sys

import psutil

from tests.processes import descendants, environment, words


def test_running_process_has_words_an_environment_and_children() -> None:
    command = [sys.executable, "-c", "print('here', flush=True); input()", "a mark"]
    pipe, variables = subprocess.PIPE, os.environ | {"MARK": "of ours"}
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=variables) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n", "until its program has begun, it has no words of its own"
        process = psutil.Process(child.pid)
        assert words(process).endswith("input() a mark")
        assert environment(process)["MARK"] == "of ours"
        assert process in descendants(psutil.Process())
        child.communicate(b"\n", timeout=30)


def test_process_that_has_ended_has_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        process = psutil.Process(child.pid)
        child.wait(timeout=30)
    assert (words(process), environment(process), descendants(process)) == ("", {}, [])
