"""Clients of simulations that ask one question after the other."""

from deployments.simulation.loads.clients import BEGIN_S, clients
from deployments.simulation.loads.generated import Lengths

LENGTHS = Lengths(100, 10, 0.5)
GROUPS = [(3, 0.0, 50.0), (20, 10.0, 20.0)]


def test_groups_begin_at_their_times_and_each_client_ends_at_its_own() -> None:
    first = clients(GROUPS, LENGTHS, 1)
    assert [one.at_s for one in first] == sorted(one.at_s for one in first)
    assert [len([one for one in first if begin <= one.at_s <= begin + BEGIN_S]) for begin in (0, 10)] == [3, 20]
    early, late = first[0].client, first[-1].client
    assert early is not None
    assert late is not None
    following = early.after(49.0)
    assert following is not None
    assert following.at_s == 49.0
    assert following == early.after(49.0), "it is the same in each simulation"
    assert following.client != early
    assert early.after(50.0) is None
    assert late.after(20.0) is None


def test_seed_makes_the_lengths() -> None:
    def lengths(seed: int) -> list[int]:
        return [one.prompt_tokens for one in clients(GROUPS, LENGTHS, seed)]

    assert lengths(1) == lengths(1) != lengths(2)
    assert len(set(lengths(1))) > 10
