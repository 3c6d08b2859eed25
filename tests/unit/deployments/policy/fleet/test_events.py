"""Events as they are written down, ordered and removed."""

from deployments.policy.fleet.events import BEGINNING, MOST_CHARACTERS, MOST_KEPT, SLACK, Event, Kind, key, read, too_many, wanted, written


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
