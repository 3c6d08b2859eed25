"""`deployments.policy.request.poison`: which request engines die of, and which was only there."""

import pytest

from deployments.policy.request.poison import DEATHS_IN_COMPANY, KEPT_S, MOST_KEPT, MOST_TOLD, Death, Poison, digest_of, read, written

ONE, TWO = digest_of("/v1/completions", b"one"), digest_of("/v1/completions", b"two")


def died(poison: Poison, digest: str, replica: str, alone: bool = True, now_s: float = 0.0, sent_s: float | None = None) -> None:
    """A replica died under a request that went there at that very time, or earlier."""
    poison.died(digest, Death(replica, now_s if sent_s is None else sent_s, now_s, alone))


def test_digest_is_of_the_path_and_the_bytes() -> None:
    digests = {digest_of(path, body) for path in ("/a", "/b") for body in (b"", b"x")}
    assert len(digests) == 4
    assert {len(digest) for digest in digests} == {32}


def test_memory_of_nothing_is_false() -> None:
    poison = Poison()
    assert not poison
    died(poison, ONE, "a")
    assert poison


def test_second_death_alone_condemns() -> None:
    poison = Poison()
    died(poison, ONE, "a")
    assert (poison.is_condemned(ONE, 1), poison.deaths(ONE, 1), poison.deaths(TWO, 1)) == (False, 1, 0)
    died(poison, ONE, "b", now_s=1)
    assert (poison.is_condemned(ONE, 1), poison.deaths(ONE, 1)) == (True, 2)
    assert poison.is_condemned(ONE, KEPT_S)
    assert not poison.is_condemned(ONE, 1 + KEPT_S), "for some minutes only"
    assert not poison, "what is too old is forgotten when it is looked up"


def test_many_of_the_same_at_one_death_are_one_death() -> None:
    poison = Poison()
    for _ in range(10):
        died(poison, ONE, "a")
    assert poison.deaths(ONE, 0) == 1
    assert not poison.is_condemned(ONE, 0)


def test_deaths_in_company_condemn_later() -> None:
    poison = Poison()
    for number in range(DEATHS_IN_COMPANY):
        assert not poison.is_condemned(ONE, 0)
        died(poison, ONE, str(number), alone=False)
    assert poison.is_condemned(ONE, 0)


def test_answered_request_is_innocent_for_good() -> None:
    poison = Poison()
    poison.answered(TWO, 0)
    assert not poison, "of a request that saw no death nothing is kept"
    died(poison, ONE, "a")
    poison.answered(ONE, 0)
    for number in range(5):
        died(poison, ONE, str(number))
    assert (poison.is_condemned(ONE, 0), poison.deaths(ONE, 0)) == (False, 0)


def test_answer_from_elsewhere_frees_a_condemned_request() -> None:
    poison = Poison()
    poison.learn({ONE: 60}, 0)
    poison.answered(ONE, 1)
    assert not poison.is_condemned(ONE, 1)


@pytest.mark.parametrize("alone", [True, False])
def test_identical_requests_whose_replicas_die_at_one_time_have_seen_one_death(alone: bool) -> None:
    poison = Poison()
    for number in range(8):
        died(poison, ONE, str(number), alone, now_s=10 + number / 100, sent_s=number)
    assert (poison.deaths(ONE, 11), poison.is_condemned(ONE, 11)) == (1, False)
    for number in range(8, 16):
        died(poison, ONE, str(number), alone=False, now_s=20 + number / 100, sent_s=12)
    assert (poison.deaths(ONE, 21), poison.is_condemned(ONE, 21)) == (2, False), "the next node's"


def test_death_counts_against_a_request_that_was_sent_after_the_one_before() -> None:
    poison = Poison()
    died(poison, ONE, "a", now_s=5)
    died(poison, ONE, "b", now_s=6, sent_s=4.9)
    assert not poison.is_condemned(ONE, 6)
    died(poison, ONE, "c", now_s=7, sent_s=5)
    assert poison.is_condemned(ONE, 7)


def test_what_has_expired_is_dropped_though_nobody_asks_for_it() -> None:
    poison = Poison()
    died(poison, ONE, "a")
    died(poison, TWO, "b", now_s=1)
    poison.told(KEPT_S)
    assert poison, "one of them is remembered for another second"
    poison.told(KEPT_S + 1)
    assert not poison, "no request is hashed any more"
    died(poison, ONE, "a")
    poison.learn({TWO: 5}, KEPT_S + 1)
    poison.told(KEPT_S + 7)
    assert not poison, "what was learned later may expire earlier"


def test_memory_is_bounded() -> None:
    poison = Poison()
    digests = [digest_of("/", b"%d" % number) for number in range(MOST_KEPT + 1)]
    for digest in digests:
        died(poison, digest, "a")
    assert [poison.deaths(digest, 0) for digest in (digests[0], digests[1], digests[-1])] == [0, 1, 1]


def test_gateways_tell_each_other_and_never_prolong() -> None:
    here, there = Poison(), Poison()
    for replica in "ab":
        died(here, ONE, replica)
    died(here, TWO, "a")
    told = read(written(here.told(100)))
    assert told == {ONE: int(KEPT_S) - 100}
    there.learn(told, 1000)
    assert there.is_condemned(ONE, 1000 + KEPT_S - 101)
    there.learn({ONE: 600}, 1400)
    here.learn(there.told(1400), 500)
    assert not there.is_condemned(ONE, 1000 + KEPT_S - 100)
    assert not here.is_condemned(ONE, KEPT_S)
    assert here.told(KEPT_S + 1) == {}


def test_only_the_latest_are_told() -> None:
    poison = Poison()
    poison.learn({digest_of("/", b"%d" % number): 60 for number in range(MOST_TOLD + 10)}, 0)
    assert len(poison.told(0)) == MOST_TOLD
    assert len(read(written(poison.told(0)))) == MOST_TOLD


@pytest.mark.parametrize("text", ["", ",", "x.1", ONE, f"{ONE}.", f"{ONE}.-1", f"{ONE}.1234567", f"{ONE[:-1]}é.1", f"{ONE[:-1]}%.5", "\0"])
def test_what_no_gateway_has_written_is_left_out(text: str) -> None:
    assert read(text) == {}
