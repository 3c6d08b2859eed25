"""`deployments.policy.body.structure`: what is counted in bytes is what decoding builds."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.body.structure import DEEPEST, FEW_NUMBERS, Structure, is_simple, pieces
from tests.unit.samples import JSON


def counted(text: bytes, size: int) -> Structure:
    structure = Structure()
    for piece in pieces(text, size):
        structure.feed(piece)
    return structure


def built(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + built(inner) for inner in value.values())
    if isinstance(value, list):
        return 1 + sum(map(built, value))
    return int(isinstance(value, str))


def commas(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return max(0, len(value) - 1) + sum(map(commas, value.values() if isinstance(value, dict) else value))


TEXTS = st.text('\\"[]{},ab\n\N{GREEK SMALL LETTER ALPHA}', max_size=12)
VALUES = st.recursive(TEXTS | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20) | JSON


@given(VALUES, st.integers(1, 40), st.booleans())
def test_lists_objects_strings_and_commas_are_counted_in_pieces_of_any_size(value: Any, size: int, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only).encode()
    found = counted(text, size)
    assert (found.built, found.separators, found.too_deep) == (built(value), commas(value), False)


@given(st.text('\\"ab').map(str.encode), st.integers(1, 10))
def test_pieces_are_the_whole_text_and_cut_no_escape(text: bytes, size: int) -> None:
    cut = list(pieces(text, size))
    assert b"".join(cut) == text
    for piece in cut[:-1]:
        assert (len(piece) - len(piece.rstrip(b"\\"))) % 2 == 0


@pytest.mark.parametrize("size", [7, 1 << 20])
def test_depth(size: int) -> None:
    for depth, deep in ((DEEPEST, False), (161, True), (100_000, True)):
        assert counted(b"[" * depth + b"1" + b"]" * depth, size).too_deep is deep
    assert counted(b'{"a":' * 1000, size).too_deep
    assert not counted(b"[" + b"[[]]," * 1000 + b"1]", size).too_deep
    assert not counted(b'["' + b"[" * 1000 + b'"]', size).too_deep


def test_brackets_and_numbers_are_few_in_nearly_every_request() -> None:
    assert is_simple(b'{"messages":[{"role":"user","content":"Hi"}]}')
    assert not is_simple(b"[" * (2 * DEEPEST + 1))
    assert not is_simple(b"1," * (FEW_NUMBERS + 1))


@pytest.mark.parametrize(
    ("text", "slow"),
    [
        (b"[1e5,2E-7,5e-324,true,false,null,1.5,-3]", 3),
        (b'["1e5",{"e":true}]', 0),
        (b"[" + b"7" * 299 + b"," + b"8" * 300 + b"]", 1),
        (b"0." + b"123" * 1000, 10),
        (b"[true,false,true]" * 3, 0),
    ],
)
def test_numbers_that_take_long_to_decode_are_counted(text: bytes, slow: int) -> None:
    assert counted(text, 1 << 20).slow_numbers == slow


def test_bytes_that_stand_in_no_string_are_measured() -> None:
    assert counted(b'{"a":  [1 , "' + b" " * 100 + b'"]  }', 7).outside == 13


def test_long_string_and_escapes_are_measured() -> None:
    found = counted(b'["' + b"x" * 1000 + b'","' + b"\\n" * 100 + b'"]', 64)
    assert 900 <= found.longest <= 1000
    assert found.escapes == 100
    assert counted(b'["' + b"x" * 20 + b'","' + b"y" * 20 + b'"]' * 5, 1 << 20).longest == 0
