"""The log of a real run, replayed: what Ray Serve's controllers saw of real engines, turn by turn, through the decision as it is now.

`tests/own_herd/test_scaling.py` has written it: tiny Scout from one replica to three and back, with controllers that were killed. That test
holds that a log, replayed, has the decisions that were taken. This one shows what another rule would have decided on the same day:
`HERD_GOLDEN=1 pytest tests/unit/deployments/policy/scaling/test_real_run.py` writes the moves anew, to be looked at.
"""

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

from tests.own_herd.turns import again, log_of

HERE = Path(__file__).parent
LOG, MOVES = HERE / "real_run.jsonl.gz", HERE / "real_run_moves.txt"


def moves() -> Iterator[str]:
    """Yields each turn that asks Ray Serve for another number than the one before it: its second, and its reason."""
    log = log_of(gzip.decompress(LOG.read_bytes()))
    last = log[0].seen.target
    for one, (number, reason) in zip(log, again(log), strict=True):
        if number not in (last, one.seen.target):
            yield f"{one.now_s - log[0].now_s:.1f} s: {reason}"
        last = number


def test_real_log_replayed_has_the_moves_that_somebody_has_looked_at() -> None:
    found = "\n".join(moves()) + "\n"
    if os.environ.get("HERD_GOLDEN"):
        MOVES.write_text(found, encoding="utf-8")
    assert found == MOVES.read_text(encoding="utf-8"), "look at the difference, then run this test with HERD_GOLDEN=1"


def test_real_step_has_three_replicas_and_one_is_left_when_it_is_over() -> None:
    log = log_of(gzip.decompress(LOG.read_bytes()))
    numbers = [number for number, _ in again(log)]
    assert (numbers[0], max(numbers), numbers[-1]) == (1, 3, 1)
    assert sum(one.memory is not None for one in log) > 1, "controllers were killed, and the next ones went on"
