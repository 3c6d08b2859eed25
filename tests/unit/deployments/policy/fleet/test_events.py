"""Events as they are written down, ordered and removed."""

from deployments.policy.fleet.events import (
    BEGINNING,
    MOST_CHARACTERS,
    MOST_KEPT,
    SLACK,
    TOGETHER_S,
    Event,
    Kind,
    is_by_an_operator,
    is_known,
    key,
    own_part,
    read,
    settled,
    too_many,
    wanted,
    written,
)


def test_event_is_read_as_it_was_written() -> None:
    event = Event(1764349200.25, Kind.SCALE, "2 to 3 replicas", "llama-4-scout", "", "anna@head")
    assert read(written(event)) == event


def test_event_of_another_release_is_read_without_its_new_fields() -> None:
    assert read('{"when": 5, "kind": "moved", "words": "x", "colour": "red"}') == Event(5.0, "moved", "x")


def test_text_that_is_no_event_is_none() -> None:
    for text in ("", "[]", "3", '{"kind": "up"}', '{"when": "soon", "kind": "up", "words": ""}', '{"when": 1}'):
        assert read(text) is None, text


def test_texts_of_an_event_stay_on_one_line_and_are_cut() -> None:
    event = read(written(Event(1.0, Kind.FAILED, "one\ntwo\x1b[31m" + "x" * 2 * MOST_CHARACTERS, "m")))
    assert event is not None
    assert event.words.startswith("one two [31mxxx")
    assert event.words.endswith("…")
    assert len(event.words) == MOST_CHARACTERS


def test_keys_sort_by_time_whatever_their_own_part() -> None:
    times = [0.0, 0.5, 9.99, 10.0, 1764349200.0, 99999999999.0]
    keys = [key(when, own) for when, own in zip(times, "fedcba", strict=True)]
    assert sorted(keys) == keys
    assert wanted([*reversed(keys), "config.json"], 10.0) == keys[3:]
    assert key(-1.0, "") == key(0.0, "")


def test_oldest_events_go_once_there_are_clearly_too_many() -> None:
    keys = [key(float(second), "a") for second in range(MOST_KEPT + SLACK + 1)]
    assert too_many(keys[:-1]) == []
    assert too_many([*reversed(keys), "config.json"]) == keys[: SLACK + 1]
    assert all(one.startswith(BEGINNING) for one in keys)


def about(kind: str, when: float = 1.0, subject: str = "abc") -> Event:
    return Event(when, kind, "words", "scout", subject, "gateway")


def kept(*events: Event) -> list[str]:
    return [key(event.when, own_part(event) or "1234") for event in events]


def test_death_that_several_gateways_see_is_known_once() -> None:
    assert not is_known(about(Kind.DEATH), kept(about(Kind.DEATH, subject="other"), about(Kind.START)))
    assert is_known(about(Kind.DEATH, 2.0), kept(about(Kind.DEATH)))


def test_replica_that_said_that_it_stops_does_not_die() -> None:
    for end in (Kind.STOP, Kind.FAILED):
        assert is_known(about(Kind.DEATH, 2.0), kept(about(end)))
    assert not is_known(about(Kind.STOP, 2.0), kept(about(Kind.DEATH)))


def test_event_without_a_subject_or_that_may_come_again_is_never_known() -> None:
    for event in (about(Kind.FAILED, subject=""), about(Kind.SCALE), about(Kind.DRAIN)):
        assert own_part(event) is None
        assert not is_known(event, kept(event))


def test_events_told_at_the_same_moment_stand_once() -> None:
    death, again, other = about(Kind.DEATH), about(Kind.DEATH, 1.1), about(Kind.DEATH, 1.2, "other")
    assert settled([death, again, other]) == [death, other]
    stop = about(Kind.STOP, 2.0)
    assert settled([death, stop]) == [stop]
    drain = about(Kind.DRAIN, subject="10.0.0.2")
    later = about(Kind.DRAIN, 2 + TOGETHER_S, "10.0.0.2")
    assert settled([drain, about(Kind.DRAIN, 1.5, "10.0.0.2"), later]) == [drain, later]
    steps = [about(Kind.STEP, subject=""), about(Kind.STEP, subject="")]
    assert settled(steps) == steps


def test_operators_have_a_host() -> None:
    assert is_by_an_operator(Event(1.0, Kind.CHANGE, "`herd up` begins", who="anna@head"))
    assert not is_by_an_operator(Event(1.0, Kind.DEATH, "it has died", who="gateway"))
