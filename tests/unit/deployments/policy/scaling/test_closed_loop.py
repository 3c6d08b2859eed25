"""A whole turn under clients that ask one question after the other: what gateways count of them, and what is decided by it."""

import heapq
from collections import deque

import pytest

from deployments.policy.queue.ledger import Answered, Ledger
from deployments.policy.queue.load_record import EngineLoads
from deployments.policy.scaling.turn import Memory, Seen, turn
from tests.unit.deployments.policy.scaling.samples import RELEASE, TUNING, T, wanted

#: Clients, and the requests that one replica should carry and runs at once.
CLIENTS, EACH = 50, 12
START_S, END_S = 300.0, 1000.0


def followed(answer_s: float) -> list[tuple[float, int]]:
    """Returns the target every two seconds: one replica at first, starts of 300 s, and an answer that takes so long."""
    policy = wanted("requests", EACH, most=10, expected_start_s=START_S, tuning=TUNING)
    ledger, memory, targets = Ledger(T), Memory(), [(0.0, 1)]
    ready, starts = 1, list[float]()
    line, running = deque(range(CLIENTS)), list[tuple[float, int]]()
    for number in line:
        ledger.arrived(100.0, b"%d" % number, T)
        ledger.waits(100.0, T)
    for second in range(1, int(END_S)):
        now_s = T + second
        while running and running[0][0] <= second:
            _, client = heapq.heappop(running)
            ledger.answered(Answered(100.0, 100, 50, answer_s), now_s)
            ledger.arrived(100.0, b"%d at %d" % (client, second), now_s)
            ledger.waits(100.0, now_s)
            line.append(client)
        ready += sum(at_s <= second for at_s in starts)
        starts = [at_s for at_s in starts if at_s > second]
        while line and len(running) < EACH * ready:
            client = line.popleft()
            ledger.waited(100.0, now_s)
            # Of other lengths, so that they do not end all at once.
            heapq.heappush(running, (second + answer_s * (0.7 + 0.6 * (client * 7 % CLIENTS) / CLIENTS), client))
        if second % 2:
            continue
        record = ledger.record("gw", RELEASE, (len(line), len(running)), EngineLoads(ready=ready, room=EACH), now_s)
        before = targets[-1][1]
        decision, memory = turn(memory, Seen(before, ready, [record]), policy, now_s)
        targets.append((second, decision.target))
        given_up = max(0, before - decision.target)
        starts += [second + START_S] * (decision.target - before)
        ready -= max(0, given_up - len(starts))
        starts = starts[: max(0, len(starts) - given_up)]
    return targets


@pytest.mark.parametrize("answer_s", [3.0, 10.0, 30.0])
def test_replicas_that_clients_wait_for_are_not_given_up_nor_when_they_come(answer_s: float) -> None:
    """Four replicas are too few for 50 clients, at twelve each."""
    targets = followed(answer_s)
    risen_s = next(at_s for at_s, target in targets if target > CLIENTS / EACH)
    assert risen_s < START_S
    assert min(target for at_s, target in targets if at_s > risen_s) > CLIENTS / EACH
