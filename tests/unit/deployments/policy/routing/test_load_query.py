"""A gateway's question for a replica's load: written and read, also between releases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.routing.load_query import LONGEST_S, SHORTEST_S, LoadQuery, read, written

WORDS = st.text("0123456789abcdef.,", max_size=12)


TIMES = st.integers(1, 3000).map(lambda hundredths: hundredths / 100)


@given(
    st.builds(LoadQuery, st.integers(0, 10**9), WORDS)
    | st.builds(
        lambda after, poison, every, more: LoadQuery(after, poison, every, min(60.0, round(every + more, 2))),
        st.integers(0, 10**9),
        WORDS,
        TIMES,
        st.just(0.0) | st.just(1.0),
    )
)
def test_written_query_is_read_as_it_was(query: LoadQuery) -> None:
    assert read(written(query)) == query


def test_replica_of_an_earlier_release_finds_its_fields_where_it_looks_for_them() -> None:
    query = written(LoadQuery(7, "ab.1,cd.2", 0.2, 1.0))
    assert query == b"after=7&every=0.2&quiet=1&poison=ab.1,cd.2"
    assert query.partition(b"&")[0] == b"after=7"
    assert query.partition(b"&poison=")[2] == b"ab.1,cd.2"


@pytest.mark.parametrize("query", [b"", b"after", b"after=", b"after=-1", b"after=x", b"before=3", b"after=\xb2", b"after=" + b"9" * 5000])
def test_query_without_a_number_asks_for_everything(query: bytes) -> None:
    assert read(query) == LoadQuery()


def test_unknown_fields_and_those_of_earlier_releases_are_ignored() -> None:
    assert read(b"after=3&waiting=g.3&more=1&poison=a.1") == LoadQuery(3, poison="a.1")


@pytest.mark.parametrize(
    ("query", "every_s", "quiet_s"),
    [
        (b"every=0.2&quiet=1", 0.2, 1.0),
        (b"every=0.2", 0.2, 0.2),
        (b"every=3&quiet=1", 3.0, 3.0),
        (b"every=0.000001&quiet=99999", SHORTEST_S, LONGEST_S),
        (b"every=0&quiet=1", 0.0, 0.0),
        (b"quiet=1", 0.0, 0.0),
        (b"every=-1", 0.0, 0.0),
        (b"every=nan", 0.0, 0.0),
        (b"every=1e3", 0.0, 0.0),
        (b"every=" + b"9" * 5000, 0.0, 0.0),
    ],
)
def test_times_of_a_stream_are_believed_within_bounds(query: bytes, every_s: float, quiet_s: float) -> None:
    asked = read(query)
    assert (asked.every_s, asked.quiet_s) == (every_s, quiet_s)
