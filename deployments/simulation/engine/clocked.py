"""One engine in virtual time: a scheduler, and when it has something to say next."""

from math import inf

from deployments.simulation.engine.request import Request, Step
from deployments.simulation.engine.scheduler import Scheduler

_NOTHING = Step(0.0, (), ())


class ClockedEngine:
    """A scheduler with a clock. It is looked at when `due_s` has come, and when a request arrives; between these nothing changes."""

    __slots__ = ("_begun_s", "_is_stepping", "due_s", "scheduler")

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.due_s = inf
        """When `wake` is next; infinite while it is idle."""
        self._begun_s = 0.0
        self._is_stepping = False

    def submit(self, request: Request, now_s: float) -> None:
        """Takes a request. A step under way goes on, and decode steps that would begin after now are planned anew.

        Raises:
            ValueError: it can never fit.
        """
        self.scheduler.submit(request)
        if self._is_stepping:
            self.due_s = self._begun_s + self.scheduler.cut(now_s - self._begun_s)
        elif self.due_s == inf:
            self.due_s = now_s

    def wake(self) -> Step:
        """Ends what was due, begins what comes next, and returns what the ended steps brought, at the time that was due."""
        now_s = self.due_s
        step = self.scheduler.finish() if self._is_stepping else _NOTHING
        takes_s = self.scheduler.begin()
        self._is_stepping = takes_s is not None
        self._begun_s, self.due_s = now_s, inf if takes_s is None else now_s + takes_s
        return step

    def catch_up(self, now_s: float) -> None:
        """Writes down what decode steps have brought by now, so that the scheduler's figures are those of now."""
        if self._is_stepping:
            self._begun_s += self.scheduler.advance(now_s - self._begun_s)

    def die(self, now_s: float) -> list[Request]:
        """Ends for ever, and a step under way is lost. Returns the requests that have not ended, with what each has generated."""
        self.catch_up(now_s)
        self.due_s = inf
        return self.scheduler.unfinished()
