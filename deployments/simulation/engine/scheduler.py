"""How an engine shares its steps among requests: continuous batching as vLLM's scheduler does it, without a clock.

Each step every request that decodes gets one token; what is left of the step's budget goes to prompts, in chunks: first of those that have
begun, then by priority and arrival (`scheduling_policy: priority`). A prompt begins when all of it fits into the KV cache
(`scheduler_reserve_full_isl`), less what it finds there. When a token has no room, the last request of the lowest priority is put back
and begins again later.
"""

import heapq
from bisect import insort
from collections.abc import Sequence

from deployments.simulation.engine.kv_pool import KvPool
from deployments.simulation.engine.request import Request, Size, Step
from deployments.simulation.engine.step_times import StepTimes


def _turn(request: Request) -> tuple[int, int]:
    """Whose is lower goes first."""
    return request.priority, request.number


class Scheduler:
    """One engine's requests."""

    def __init__(self, size: Size, step_times: StepTimes) -> None:
        self.size = size
        self.pool = KvPool(size.kv_tokens, size.block_tokens)
        self.waiting: list[Request] = []
        self.queried_blocks = self.found_blocks = self.preempted = 0
        self.computed_tokens = self.made_tokens = 0
        """Of prompts and of answers."""
        self._step_times = step_times
        self._prefilling: list[Request] = []
        self._decoding: dict[Request, None] = {}
        self._ends: list[tuple[int, int, Request]] = []
        self._context_tokens = 0
        self._decoded = 0
        self._computing: list[tuple[Request, int]] = []
        self._begun_steps = 0
        self._takes_s = 0.0

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self._prefilling) + len(self._decoding)

    @property
    def prefill_tokens(self) -> int:
        """Prompt tokens to compute, if nothing of those that wait is found."""
        tokens = 0
        for request in self._prefilling:
            tokens += request.prompt_tokens + request.generated - request.computed
        for request in self.waiting:
            tokens += request.prompt_tokens + request.generated
        return tokens

    def submit(self, request: Request) -> None:
        """A request has arrived.

        Raises:
            ValueError: it can never fit.
        """
        if request.prompt_tokens + request.output_tokens > self.size.kv_tokens:
            raise ValueError(f"{request.prompt_tokens} + {request.output_tokens} tokens do not fit into {self.size.kv_tokens}")
        insort(self.waiting, request, key=_turn)

    def abort(self, request: Request) -> None:
        """Nobody wants it any more."""
        if request in self.waiting:
            self.waiting.remove(request)
        else:
            self._leave(request)

    def step(self, most_s: float = 0.0) -> Step | None:
        """Takes one step; where no prompt is computed, all steps that begin within so many seconds, until a request ends. Returns None
        where there is nothing to do."""
        if self.begin() is None:
            return None
        self.cut(most_s)
        return self.finish(tell_decoded=most_s == 0)

    def begin(self) -> float | None:
        """Begins a step that computes prompts, or all decode steps until the first request ends or memory is full.

        Returns:
            Seconds until `finish` is next; None where there is nothing to do.
        """
        pool, decodes = self.pool, len(self._decoding)
        crowded = pool.held_tokens + decodes > pool.capacity_tokens and self._make_room()
        if crowded:
            decodes = len(self._decoding)
        self._begun_steps = 1
        is_asked = self._prefilling or self.waiting
        self._computing = chunks = self._chunks(self.size.step_tokens - decodes, begin=not crowded) if is_asked else []
        if chunks:
            self._takes_s = self._prefill_s(chunks, decodes)
            return self._takes_s
        if not decodes:
            return None
        if not (crowded and self.waiting):  # else the first of these may begin in the next step
            room = (pool.capacity_tokens - pool.held_tokens) // decodes
            self._begun_steps = min(self._ends[0][0] - self._decoded, room)
        self._takes_s = self._step_times.decode_steps(decodes, self._context_tokens, self._begun_steps)
        return self._takes_s

    def _prefill_s(self, chunks: Sequence[tuple[Request, int]], decodes: int) -> float:
        """Returns the seconds of a step that computes these parts of prompts."""
        tokens = pairs = 0
        for request, several in chunks:
            tokens += several
            pairs += several * (request.computed + several // 2)
        return self._step_times.step(tokens, pairs, decodes, self._context_tokens)

    def cut(self, most_s: float) -> float:
        """Leaves out those of the decode steps begun that would begin later than so many seconds after the first.

        Returns:
            Seconds from the first one's begin until `finish` is next.
        """
        if self._begun_steps > 1 and most_s < self._takes_s:
            self._begun_steps = 1 + self._steps_before(most_s)[0]
            self._takes_s = self._step_times.decode_steps(len(self._decoding), self._context_tokens, self._begun_steps)
        return self._takes_s

    def advance(self, after_s: float) -> float:
        """Writes down those of the decode steps begun that have ended before so many seconds after the first; the last one is not of them.

        Returns:
            Seconds that they took; the next one begins then.
        """
        if self._begun_steps == 1:
            return 0.0
        steps, took_s = self._steps_before(after_s)
        if steps:
            self._decode(steps)
            self._begun_steps -= steps
            self._takes_s -= took_s
        return took_s

    def _steps_before(self, seconds: float) -> tuple[int, float]:
        """Returns how many of the decode steps begun end before so many seconds after the first began, without the last one, and how long
        these take."""
        return self._step_times.steps_before(seconds, len(self._decoding), self._context_tokens, self._begun_steps - 1)

    def finish(self, tell_decoded: bool = False) -> Step:
        """Ends what was begun last.

        Args:
            tell_decoded: the step's `decoded` is wanted.
        """
        decoded = tuple(self._decoding) if tell_decoded else ()
        finished = self._decode(self._begun_steps) if self._decoding else ()
        first: Sequence[Request] = ()
        if self._computing:
            first = self._prefill(self._computing)
            if over := [request for request in first if request.output_tokens == 1]:
                finished = [*finished, *over]
        return Step(self._takes_s, first, finished, decoded)

    def unfinished(self) -> list[Request]:
        """Returns the requests that have not ended, with what each has generated so far."""
        for request in self._decoding:
            self._settle(request)
        return [*self._decoding, *self._prefilling, *self.waiting]

    def _make_room(self) -> bool:
        before = self.preempted
        while self._decoding and self.pool.held_tokens + len(self._decoding) > self.pool.capacity_tokens:
            self.preempted += 1
            last = max((*self._prefilling, *self._decoding), key=_turn)
            self._leave(last)
            insort(self.waiting, last, key=_turn)
        return self.preempted > before

    def _leave(self, request: Request) -> None:
        if request in self._decoding:
            self._settle(request)
            self._leave_decoding(request)
            self._release(request)
        elif request in self._prefilling:
            self._prefilling.remove(request)
            self._release(request)

    def _chunks(self, budget: int, begin: bool) -> list[tuple[Request, int]]:
        chunks = []
        for request in self._prefilling:
            tokens = request.prompt_tokens + request.generated - request.computed
            if tokens > budget:
                tokens = budget
            chunks.append((request, tokens))
            budget -= tokens
        while self.waiting and begin and budget > 0 and self.running < self.size.sequences and self._begin(self.waiting[0]):
            request = self.waiting.pop(0)
            self._prefilling.append(request)
            tokens = min(budget, request.target - request.computed)
            chunks.append((request, tokens))
            budget -= tokens
        return chunks

    def _begin(self, request: Request) -> bool:
        """Its whole prompt fits, less what is found; the last token is always computed."""
        found = min(self.pool.found(request.blocks), (request.target - 1) // self.size.block_tokens) if request.blocks else 0
        rest, known = request.target - found * self.size.block_tokens, request.blocks[:found]
        if not self.pool.fits(known, rest + len(self._decoding)):
            return False
        self.pool.hold(known, rest)
        request.computed = found * self.size.block_tokens
        request.named, request.loose = found, rest
        if not request.begun:
            request.begun, request.found = True, found
            self.queried_blocks += len(request.blocks)
            self.found_blocks += found
        return True

    def _prefill(self, chunks: Sequence[tuple[Request, int]]) -> list[Request]:
        first = []
        for request, tokens in chunks:
            computed = request.computed = request.computed + tokens
            self.computed_tokens += tokens
            if request.named < len(request.blocks):
                self._name(request)
            if computed == request.prompt_tokens + request.generated:
                self._prefilling.remove(request)
                if not request.generated:
                    first.append(request)
                    request.generated = 1
                    self.made_tokens += 1
                if request.generated == request.output_tokens:
                    self._release(request)
                else:
                    self._enter_decoding(request)
        return first

    def _name(self, request: Request) -> None:
        """Lets the blocks be found that it has computed."""
        named, whole = request.named, min(len(request.blocks), request.computed // self.size.block_tokens)
        for block in request.blocks[named:whole]:
            self.pool.computed(block)
            request.named += 1
            request.loose -= self.size.block_tokens

    def _decode(self, times: int) -> Sequence[Request]:
        tokens = len(self._decoding) * times
        self._decoded += times
        self.made_tokens += tokens
        self._context_tokens += tokens
        self.pool.grow(tokens)
        return () if self._ends[0][0] > self._decoded else self._end_decoding()

    def _end_decoding(self) -> list[Request]:
        """Takes out the requests whose answers are whole, and returns them."""
        finished = []
        while self._ends and self._ends[0][0] <= self._decoded:
            request = heapq.heappop(self._ends)[2]
            if request in self._decoding and request.since + request.output_tokens == self._decoded:
                self._settle(request)
                self._leave_decoding(request)
                self._release(request)
                finished.append(request)
        return finished

    def _enter_decoding(self, request: Request) -> None:
        request.since = self._decoded - request.generated
        self._decoding[request] = None
        self._context_tokens += request.target
        heapq.heappush(self._ends, (request.since + request.output_tokens, request.number, request))

    def _settle(self, request: Request) -> None:
        """Writes down what it has generated, which is otherwise only counted for all together."""
        new = self._decoded - request.since - request.generated
        request.generated += new
        request.loose += new

    def _leave_decoding(self, request: Request) -> None:
        del self._decoding[request]
        self._context_tokens -= request.target

    def _release(self, request: Request) -> None:
        self.pool.release(request.blocks[: request.named], request.loose)
        request.computed = request.named = request.loose = 0
