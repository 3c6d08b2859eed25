"""`deployments.policy.body.patterns`: how many parts a regular expression or a grammar has for the compiler."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.body.patterns import grammar_cost, regex_cost

MANY = 10**9


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("", 0),
        ("hello, world", 0),
        ("(cat|dog)", 0),
        (r"\?\*\+\{3\}\[\(", 0),
        ("[a-z]", 1),
        (r"[?*+\]{3}]", 1),
        (r"\d\w\s", 3),
        (".", 4),
        ("[^,]", 4),
        (r"\S", 4),
        ("[\u00e4-\u00fc]", 4),
        ("a?", 1),
        ("a+?b*?", 3),
        ("a{3}b{2,5}", 8),
        ("a{0}", 1),
        ("a{2,}", 3),
        ("a{0,9999999}", 10**6),
        ("a{b}", 0),
        ("[a-z]?" * 3, 1 + 2 + 3),
        ("[a-z]?ab" * 3, 3),
        ("[a-z]?[0-9]" * 3, 6),
        ("([a-z]?){3}", 3),
        ("(ab)?(ab)?(ab)?", 1 + 2 + 3),
        ("(ab)+c(ab)+", 2),
        ("(a|)(b|)(|c)", 1 + 2 + 3),
        ("(a?|b)(c)d?", 1 + 2 + 1),
        ("a?(b?|c)d?", 1 + 2 + 3 + 4),
        ("a?(?:b?)d?", 1 + 2 + 3),
        ("a?|b?", 2),
        ("a?)b?", 1 + 2),
        ("((", 0),
        ("\\", 0),
    ],
)
def test_parts_of_a_regular_expression(pattern: str, parts: int) -> None:
    assert regex_cost(pattern, MANY) == parts


@pytest.mark.parametrize(
    ("grammar", "parts"),
    [
        ('root ::= "What?*+ {3} [a-z]" # [a-z]*', 0),
        (r'root ::= "a \" [a-z]?" [a-z]', 1),
        ("root ::= [a-z]? [a-z]? [a-z]?", 1 + 2 + 3),
        ('root ::= [a-z]? "a" [a-z]? "b" [a-z]?', 3),
        ("root ::= [a-z]? ws [a-z]? ws", 1 + 2),
        ("root ::= [a-z]?\nws ::= [ ]?", 2),
        ("root ::= ws? ws?", 1 + 2),
        ('root ::= [a-z] # "\n ? [a-z]\n{ 0 , 3 }', 1 + 2 + 2),
        ('root ::= ("a" | "b")* ("c" | "d")*', 1 + 2),
        ("start: 'What?' /a/", 1),
        ("""start: "a' [a-z]?[a-z]? '" """, 1 + 2),
    ],
)
def test_parts_of_a_grammar(grammar: str, parts: int) -> None:
    assert grammar_cost(grammar, MANY) == parts


USUAL = {
    "date": r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})?)?$",
    "e-mail": r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}",
    "phone": r"(\+\d{1,3}[ -]?)?(\(?\d{3}\)?[ -]?)?\d{3}[ -]?\d{4}",
    "uuid": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "address": r"https?://[^\s/$.?#].[^\s]*",
    "name": "^[a-zA-Z0-9_-]{1,64}$",
}


def test_usual_patterns_have_fewer_parts_together_than_a_request_may_have() -> None:
    assert sum(regex_cost(pattern, MANY) for pattern in USUAL.values()) < 200


def test_count_ends_soon_after_the_bound() -> None:
    assert regex_cost("[a-z]?" * 10_000, 256) == 276


@given(st.text(st.sampled_from("[](){}|?*+\\.'\"#:,a1^$ \n")))
def test_every_text_has_a_number_of_parts(text: str) -> None:
    assert regex_cost(text, MANY) >= 0
    assert grammar_cost(text, MANY) >= 0
