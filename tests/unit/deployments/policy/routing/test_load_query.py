"""A gateway's question for a replica's load: written and read, also between releases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.routing.load_query import LoadQuery, read, written

WORDS = st.text("0123456789abcdef.,", max_size=12)


@given(st.builds(LoadQuery, st.integers(0, 10**9), WORDS, WORDS))
def test_written_query_is_read_as_it_was(query: LoadQuery) -> None:
    assert read(written(query)) == query


def test_replica_of_an_earlier_release_finds_its_fields_where_it_looks_for_them() -> None:
    query = written(LoadQuery(7, "g.3", "ab.1,cd.2"))
    assert query.partition(b"&")[0] == b"after=7"
    assert query.partition(b"&poison=")[2] == b"ab.1,cd.2"


@pytest.mark.parametrize("query", [b"", b"after", b"after=", b"after=-1", b"after=x", b"before=3", b"after=\xb2", b"after=" + b"9" * 5000])
def test_query_without_a_number_asks_for_everything(query: bytes) -> None:
    assert read(query) == LoadQuery()


def test_unknown_fields_are_ignored() -> None:
    assert read(b"after=3&more=1&poison=a.1") == LoadQuery(3, poison="a.1")
