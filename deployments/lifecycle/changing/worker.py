"""The process that carries out a change of a herd: apart from the command that asked for it, so that a lost terminal ends no change.

Decides how it is started and what ends it: Ctrl-C, which the command hands on, and an end of its machine. It hears neither the hang-up of a
terminal nor a pipe that is closed: its output is a file in the herd's folder.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

from configs.load import ConfigError, Environment, environment
from configs.schema import Config
from configs.strict import Strict
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import rolls
from deployments.lifecycle.changing.rolls import LOG, Progress
from deployments.lifecycle.known import Herd, OperationError
from deployments.lifecycle.memory import InFolder
from deployments.policy.fleet.by_hand import Order

TASK = "roll-task.json"
#: The process imports from where the command does, and Ray is told the same program's folder.
BEGIN = """
import json, sys
path, *arguments = json.loads(sys.argv[1])
sys.path[:], sys.argv[:] = path, arguments
from deployments.lifecycle.changing.worker import main
main()
"""


class Task(Strict):
    """All that the process is told."""

    folder: Path
    config: Config
    order: Order
    within_s: float
    force: bool


def start(herd: Herd, order: Order, terms: operate.Terms, lock: int) -> "subprocess.Popen[bytes]":
    """Starts the process in a session of its own, with the lock of the herd's folder."""
    folder = herd.folder.absolute()
    task = Task(folder=folder, config=herd.config, order=order, within_s=terms.within_s, force=terms.force)
    InFolder(folder).keep(TASK, task.model_dump_json())
    words = [sys.executable, "-P", "-c", BEGIN, json.dumps([sys.path, sys.argv[0], str(folder)])]
    with (folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=[lock], close_fds=True
        )
    os.close(lock)
    return process


def main() -> None:
    """Carries out the task in the folder that the command line names."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    folder = Path(sys.argv[1])
    task = Task.model_validate_json(InFolder(folder).kept(TASK) or "")
    carry_out(task, Progress(folder, rolls.of_this_process(task.order)), environment())


def carry_out(task: Task, progress: Progress, given: Environment) -> None:
    """Carries out a task, and tells how it ended, whatever happens."""
    herd, terms = Herd(task.folder, task.config), operate.Terms(task.within_s, task.force)
    given = dataclasses.replace(given, state=task.folder.parent)
    try:
        operate.carry_out(herd, task.order, given, progress, terms)
    except KeyboardInterrupt:
        progress.ended("It was interrupted.", interrupted=True)
    except (OperationError, ConfigError) as error:
        progress.ended(str(error))
    except Exception as error:  # noqa: BLE001 (the edge of a process: an operator waits for how it ended)
        traceback.print_exc()
        progress.ended(f"The change broke off ({type(error).__name__}: {error}). {task.folder / LOG} has more. `herd up` again goes on.")
    else:
        progress.ended()
