"""`deployments.policy.body.patterns`: how many parts a regular expression or a grammar has for the compiler."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.body.patterns import LENGTH, grammar_cost, length_cost, regex_cost

MANY = 10**9


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("", 0),
        ("hello, world", 0),
        ("(cat|dog)", 0),
        (r"\?\*\+\{3\}\[\(", 0),
        ("[a-z]", 0.37),
        (r"[?*+\]{3}]", 0.11),
        (r"\d\w\s", 1.02),
        (".", 2.5),
        ("[^,]", 2.5),
        (r"\S", 2.5),
        ("[\u00e4-\u00fc]", 2.5),
        ("a?", 0.05),
        ("a+?b*?", 0.2),
        (" ? *", 1.8),
        ("a b?", 0.05),
        ("a{3}b{2,5}", 0.4),
        ("a{0}", 0.05),
        ("a{2,}", 0.15),
        ("a{0,9999999}", 50_000),
        ("a{b}", 0),
        ("[a-z]?" * 3, 2.22),
        ("[a-z]?ab" * 3, 1.11),
        ("[a-z]?[0-9]" * 3, 1.35),
        ("([a-z]?){3}", 1.11),
        ("(ab)?(ab)?(ab)?", 2.4),
        ("(ab)+c(ab)+", 0.8),
        ("(a|)(b|)(|c)", 2.4),
        ("(a?|b)(c)d?", 0.9),
        ("a?(b?|c)d?", 1.55),
        ("a?(?:b?)d?", 0.3),
        ("a?|b?", 0.1),
        ("a?)b?", 0.15),
        ("((", 0),
        ("\\", 0),
    ],
)
def test_parts_of_a_regular_expression(pattern: str, parts: float) -> None:
    assert regex_cost(pattern, MANY) == pytest.approx(parts, abs=0.006)


@pytest.mark.parametrize(
    ("grammar", "parts"),
    [
        ('root ::= "What?*+ {3} [a-z]" # [a-z]*', 0),
        (r'root ::= "a \" [a-z]?" [a-z]', 0.37),
        ("root ::= [a-z]? [a-z]? [a-z]?", 2.22),
        ('root ::= [a-z]? "a" [a-z]? "b" [a-z]?', 1.11),
        ("root ::= [a-z]? ws [a-z]? ws", 1.11),
        ("root ::= [a-z]?\nws ::= [ ]?", 0.66),
        ("root ::= ws? ws?", 1.2),
        ('root ::= [a-z] # "\n ? [a-z]\n{ 0 , 3 }', 1.85),
        ('root ::= ("a" | "b")* ("c" | "d")*', 1.2),
        ('root ::= ", "*', 0.6),
        ("start: 'What?' /a/", 0.4),
        ("""start: "a' [a-z]?[a-z]? '" """, 1.11),
    ],
)
def test_parts_of_a_grammar(grammar: str, parts: float) -> None:
    assert grammar_cost(grammar, MANY) == pytest.approx(parts, abs=0.006)


USUAL = {
    "date": r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})?)?$",
    "e-mail": r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}",
    "phone": r"(\+\d{1,3}[ -]?)?(\(?\d{3}\)?[ -]?)?\d{3}[ -]?\d{4}",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "address": r"https?://[^\s/$.?#].[^\s]*",
    "name": "^[a-zA-Z0-9_-]{1,64}$",
    "word": r"^\w+( \w+)*$",
}


def test_usual_patterns_have_fewer_parts_together_than_a_request_may_have() -> None:
    assert sum(regex_cost(pattern, MANY) for pattern in USUAL.values()) < 200


def test_count_ends_soon_after_the_bound() -> None:
    assert 256 < regex_cost("[a-z]?" * 10_000, 256) < 270


@pytest.mark.parametrize(("lengths", "parts"), [("None 128", 0), ("0 129", LENGTH), ("200 None", LENGTH), ("-1 1.5", 0)])
def test_parts_of_the_lengths_of_a_string(lengths: str, parts: float) -> None:
    assert length_cost(lengths, MANY) == parts


#: Patterns of every kind about as long as they may be, and one step longer; measured: 1.5 to 4 s of a core, and so 1 to 2 s with two.
BORDER = {
    "[a-z]?": 36,
    ".?": 13,
    "(.)?": 12,
    "(a|.)?": 12,
    "[^,]+, ": 51,
    " ?": 28,
}


@pytest.mark.parametrize(("piece", "most"), BORDER.items())
def test_longest_patterns_that_pass(piece: str, most: int) -> None:
    assert regex_cost(piece * most, MANY) <= 256 < regex_cost(piece * (most + 1), MANY)


@pytest.mark.parametrize(
    ("piece", "most"),
    [(".", 102), ("[ -~]", 141), ("[A-Za-z ]", 204), ("[A-Za-z0-9_-]", 382), ("[a-z]", 691), (r"\d", 3200)],
)
def test_longest_repetition_that_passes(piece: str, most: int) -> None:
    assert regex_cost(f"{piece}{{0,{most}}}", MANY) <= 256 < regex_cost(f"{piece}{{0,{most + 1}}}", MANY)


@given(st.text(st.sampled_from("[](){}|?*+\\.'\"#:,a1^$ \n")))
def test_every_text_has_a_number_of_parts(text: str) -> None:
    assert regex_cost(text, MANY) >= 0
    assert grammar_cost(text, MANY) >= 0


#: Texts of the longest size that look at every moment as if a repetition, a literal, a class or a group went on.
LONG = {
    "repetition": "a{1," + " " * 65_000 + "x",
    "repetition without a comma": "a{1" + " " * 65_000 + "x",
    "digits": "a{" + "1" * 65_000,
    "repetitions": "a{1," * 16_000,
    "blanks": "root ::= a" + " " * 65_000 + "x",
    "comments": "root ::= a" + " #\n" * 20_000 + "x",
    "literals": 'root ::= "' + "a" * 65_000,
    "ranges": "[" + " -~" * 21_000 + "]",
    "groups": "(" * 65_000,
    "names": "(?<" + "a" * 65_000,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_count_of_a_long_text_takes_time_in_proportion_to_its_length(text: str) -> None:
    """An event loop stands still meanwhile. Each takes 0.1 s at most on a busy machine; the first one took half a minute."""
    began_s = time.thread_time()
    regex_cost(text, MANY)
    grammar_cost(text, MANY)
    assert time.thread_time() - began_s < 1
