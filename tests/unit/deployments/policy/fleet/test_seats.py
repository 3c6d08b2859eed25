"""A row for each replica, out of what three places say of it."""

from dataclasses import replace
from typing import Any

from deployments.policy.fleet.seats import PLACING, STARTING, STOPPING, Placed, Seat, failures, lost, seats
from deployments.policy.records.starts import FAILED, READY, Start

NOW = 2000.0
GOING = Start("scout", "b", "10.0.0.2", "0.1.0", 1900.0)
PAGE: dict[str, Any] = {
    "id": "a",
    "state": "ready",
    "ongoing": 3,
    "waiting": 1,
    "ready_s": 500.0,
    "address": "10.0.0.1:9000",
    "canary": "",
    "slow": True,
    "about": {"release": "0.1.0", "gpus": 8},
}


def test_replica_that_a_gateway_knows_is_as_its_page_says() -> None:
    (row,) = seats([PAGE], [Placed("a", "STARTING", "10.0.0.9", 1.0)], [], NOW)
    assert row == Seat("a", "ready", "10.0.0.1", 8, "0.1.0", 1500.0, 3, 1, "", True)


def test_page_of_an_older_release_leaves_out_what_it_does_not_say() -> None:
    bare = {"id": "a", "state": "ready", "ongoing": 0}
    assert seats([bare], [], [], NOW) == (Seat("a", "ready"),)
    known = replace(GOING, replica="a", outcome=READY)
    assert seats([bare], [], [known], NOW) == (Seat("a", "ready", release="0.1.0"),)


def test_replica_that_only_ray_serve_knows_is_placed_or_starts_or_stops() -> None:
    placed = [
        Placed("b", "STARTING", "", None),
        Placed("c", "STARTING", "10.0.0.3", 1950.0),
        Placed("d", "STOPPING", "10.0.0.3", 1.0),
        Placed("e", "STARTING", "", None),
        Placed("f", "PENDING_MIGRATION", "10.0.0.4", 5.0),
    ]
    rows = seats([], placed, [replace(GOING, replica="c"), replace(GOING, replica="d", outcome=READY)], NOW)
    assert [row.state for row in rows] == [PLACING, STARTING, STOPPING, PLACING, "pending_migration"]
    assert (rows[1].start, rows[1].since) == (replace(GOING, replica="c"), 1900.0)
    assert rows[2].start is None
    assert rows[0].since is None


def test_start_whose_replica_is_gone_is_lost() -> None:
    failed = replace(GOING, replica="x", outcome=FAILED, error="no")
    known = [replace(GOING, replica="old", began=1.0), GOING, failed, replace(GOING, replica="y", outcome=READY)]
    rows = [Seat("c", STARTING)]
    assert lost(known, rows) == known[:2]
    assert failures(known, rows, 1000.0) == [GOING, failed]
    assert failures(known, [Seat("b", STARTING)], 1000.0) == [failed]
