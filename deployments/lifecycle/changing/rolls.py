"""The record of a change that is under way: the order, its steps so far, and how it ended.

Decides where that stands: in the herd's folder on the machine where the change is carried out, and in a cluster's memory as well, where all
operators see it.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from cluster.machine.birth import alive, runs
from configs.strict import Strict
from deployments.lifecycle.known import OperationError
from deployments.lifecycle.memory import InFolder, Memory
from deployments.policy.fleet.by_hand import Order
from deployments.progress import Say

ROLL = "roll.json"
LOG = "roll.log"
LOOKS_S = 0.2
#: A process that is starting has this long to say that it is there.
BEGINS_S = 60.0


class Roll(Strict):
    """A change that is under way, or how it ended."""

    order: Order
    host: str
    pid: int
    began: float
    """The process's start, by which it is told from another one of the same id."""
    job: str = ""
    """The process's connection to Ray, in a cluster."""
    steps: tuple[tuple[float, str], ...] = ()
    """Seconds since the start, and the step."""
    ended: str | None = None
    """None while it is under way; empty where it is done, and else the reason why not."""
    interrupted: bool = False

    @property
    def words(self) -> str:
        """Names the order, its operator, its beginning, and how far it is."""
        return f"`{self.order.words}` by {self.order.by} is under way since {self.order.at}{self._at}"

    @property
    def left(self) -> str:
        """Says that it ended without a word, as a step of the next change, which has its lock."""
        return (
            f"`{self.order.words}` by {self.order.by}, begun {self.order.at}{self._at}, ended in the middle: Ray says that its process, or "
            f"its host {self.host}, is gone. Its lock is taken over"
        )

    @property
    def _at(self) -> str:
        return f", at: {self.steps[-1][1].splitlines()[0]}" if self.steps else ""

    @property
    def lives(self) -> bool:
        """Whether its process still runs, on this machine."""
        return alive(self.pid, self.began) is not None

    def refusal(self) -> OperationError:
        """Returns the error for an order that comes meanwhile."""
        return OperationError(f"{self.words}. `herd up --attach` shows it; try again when it has ended.")


class Progress:
    """Writes down how far a change is."""

    def __init__(self, folder: Path, roll: Roll, say: Say = lambda _: None) -> None:
        """Args:
        folder: the herd's.
        roll: the change that begins.
        say: is told each step, too.
        """
        self._say = say
        self._places: list[tuple[Memory, str]] = [(InFolder(folder), ROLL)]
        self._roll = roll
        self._write()

    @property
    def roll(self) -> Roll:
        """Returns what is known by now."""
        return self._roll

    def also_in(self, memory: Memory, name: str, job: str) -> None:
        """Writes into another place, too, from now on."""
        self._roll = self._roll.model_copy(update={"job": job})
        self._places.append((memory, name))
        self._write()

    def no_more_in(self, memory: Memory, name: str) -> None:
        """Leaves a place out from now on."""
        self._places.remove((memory, name))

    def say(self, step: str) -> None:
        """Adds a step; one that is told again is not added again."""
        steps = self._roll.steps
        if not steps or steps[-1][1] != step:
            self._say(step)
            self._roll = self._roll.model_copy(update={"steps": (*steps, (round(time.time() - self._roll.began, 1), step))})
            self._write()

    def ended(self, error: str = "", interrupted: bool = False) -> None:
        """Tells that the change is over: with an error, or interrupted, or done."""
        self._roll = self._roll.model_copy(update={"ended": error, "interrupted": interrupted})
        self._write()

    def _write(self) -> None:
        for memory, name in self._places:
            memory.keep(name, self._roll.model_dump_json())


def of_this_process(order: Order) -> Roll:
    """Returns a change that this process begins to carry out."""
    return Roll(order=order, host=socket.gethostname(), pid=os.getpid(), began=psutil.Process().create_time())


def in_folder(folder: Path) -> Roll | None:
    """Returns the last change that was carried out on this machine; None if there is none that this release can read."""
    return read(InFolder(folder).kept(ROLL))


def read(text: str | None) -> Roll | None:
    """Returns a change from its text."""
    with contextlib.suppress(ValueError):
        return None if text is None else Roll.model_validate_json(text)
    return None


def running(folder: Path) -> Roll | None:
    """Returns the change that is under way on this machine; None if none is."""
    roll = in_folder(folder)
    return roll if roll is not None and roll.ended is None and roll.lives else None


def begun(folder: Path, pid: int | None = None) -> Roll:
    """Waits until a process says that it carries out a change; with `pid` that one, which is ours, and else any.

    Raises:
        OperationError: it ended before, or says nothing.
    """
    deadline = time.monotonic() + BEGINS_S
    while time.monotonic() < deadline:
        roll = in_folder(folder)
        if roll is not None and (roll.pid == pid or (pid is None and roll.ended is None and roll.lives)):
            return roll
        if pid is not None and not runs(pid):
            break
        time.sleep(LOOKS_S)
    raise OperationError(f"The process that should change the herd says nothing. {folder / LOG} has its output.")


def follow(look: Callable[[], Roll], lives: Callable[[Roll], bool], say: Say) -> None:
    """Tells each step of a change until it has ended.

    Args:
        look: reads how far it is.
        lives: whether its process still runs.
        say: tells a step.

    Raises:
        OperationError: it did not come to a good end.
        KeyboardInterrupt: it was interrupted.
    """
    shown = 0
    while True:
        alive_before = lives(look())
        roll = look()
        for _, step in roll.steps[shown:]:
            say(step)
        shown = len(roll.steps)
        if roll.interrupted:
            raise KeyboardInterrupt
        if roll.ended is not None:
            if roll.ended:
                raise OperationError(roll.ended)
            return
        if not alive_before:
            raise OperationError("The process that changes the herd has ended without a word. `herd up` again goes on from there.")
        time.sleep(LOOKS_S)
