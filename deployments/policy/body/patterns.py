"""How much work a regular expression or a grammar makes for the compiler of grammars, told by one look at its text.

Decides by parts: a part is about 1/64 s of one core. Each place where a class may stand costs a walk through the tokens that fit there, so
that a class counts by the letters, spaces and signs in it, and `{m,n}` is n of them. Seconds of a core, measured on a busy machine (an idle
one takes half as long) with xgrammar 0.2.8, whose compiler has 8 threads in an engine, and the vocabulary of Llama 4:

    {0,100} of   [0-9]  [0-9a-f]  \\s   [a-z]  \\w   [A-Za-z0-9_-]  \\S   [ -~]  [^,]  .
    seconds      0.03   0.1       0.5  0.9    1.5  1.8            3.8  4.7    7.8   9.2

    256 parts    36 × [a-z]?  100 × a?  13 × .?  51 × [^,]+,  345 × [a-z]+,  [ -~]{0,141}  .{1,102}  [A-Za-z ]{0,204}  [a-z]{0,691}
    seconds      3.1          5.2       1.4      4.6          8.3            7.2           8.0       6.0               1.1

80 times `[^,]+, ` take 6 s. A string of JSON with a `maxLength` takes as long as `[^"]{0,n}`: 2.5 to 5 s for 100, 5 to 8 s for any number
over 256. The engine's compiler keeps the places up to 128 for all later schemas, and those of a number over 128 for the same number: a new
one takes 3 s. Parts that may be skipped cost more the more of them follow each other, because each may be where a token
begins or ends: 10, 20 and 40 times `[a-z]?` take 0.1, 0.5 and 4 s, 8, 20 and 40 times `.?` 1, 4 and 33 s. A literal between them ends such
a run: 200 times `[a-z]?ab` take 0.2 s.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_letters, ascii_lowercase, ascii_uppercase, digits, punctuation

#: Parts that a place for nearly every character counts.
BROAD = 2.5
#: Parts of a place for one character, for a space, with which half of all tokens begin (28 times ` ?` take as long as 100 times `a?`), and
#: of a group in a run of those that may be skipped.
ONE, SPACE, GROUP = 0.05, 0.6, 0.4


def _set_of(characters: str) -> int:
    """Returns a set of characters as bits: a class may name 20,000 ranges, each of which adds all of its characters in one step."""
    return sum(1 << ord(one) for one in set(characters))


#: Characters of a class, and the parts that all of them add. Half of the letters make a quarter of the tokens.
_LETTERS = ((_set_of(ascii_lowercase), 0.32), (_set_of(ascii_uppercase), 0.25))
_OTHERS = ((_set_of(digits), 0.03), (_set_of(punctuation), 0.3))
#: Tokens have a space before their letters: all others count so many times, and some parts more.
_WITH_SPACE, _SPACE = 1.7, 0.2
_SHORT = {"\\d": _set_of(digits), "\\w": _set_of(ascii_letters + digits + "_"), "\\s": _set_of(" \t")}
_MEMBER = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.DOTALL)
#: Bounds of a string's length up to this one share their places, for as long as an engine runs.
SHARED_LENGTH = 128
#: Parts of each pair of bounds that is over it.
LENGTH = 64
#: Digits of a number of repetitions; a longer number counts as the largest of these.
_DIGITS = 6
#: Nothing is given back of what was matched: else `{1,` and 64 KiB of spaces take half a minute.
_REPEATED = r"(?P<repeated>[?*+]|\{\s*+[0-9]++\s*+(?:,\s*+[0-9]*+\s*+)?\})"
#: `fixed` is a literal. Anchors, and the `?` of a lazy repetition, match nothing, and so are passed over.
_REGEX = re.compile(
    rf"(?:(?P<part>\.|\\[dDwWsSpP]|\[(?:\\.|[^\]\\])*\]?)|(?P<close>\))|(?P<fixed>\\.|[^\\.()\[|?*+^${{}}]+(?![?*+{{])|[^\\.()\[|?*+^$])){_REPEATED}?"
    r"|(?P<open>\((?:\?(?:[:=!]|<[=!]|P?<\w+>))?)|(?P<either>\|)",
    re.DOTALL,
)
#: The name of another rule is neither part nor literal: the other rule may be empty. A colon begins a rule.
_GRAMMAR = re.compile(
    r"(?:(?P<part>\[(?:\\.|[^\]\\\r\n])*\]?)|(?P<close>\))|(?P<fixed>\"(?:\\.|[^\"\\\r\n])*\"?|:)|[\w.-]+)"
    rf"(?:\s+|#[^\r\n]*)*{_REPEATED}?"
    r"|#[^\r\n]*|(?P<open>\()|(?P<either>\|)",
)
_IS_BROAD = re.compile(r"\A\.|\A\[\^|\\[DWSpPuUx]|[^\x00-\x7f]")
#: A literal of a grammar in Lark's form, which vLLM writes in double quotation marks.
_SINGLE = re.compile(r"'([^'\r\n]*)'")


@dataclass(slots=True)
class _Group:
    """The count before a group, and how its alternatives so far end."""

    cost: float = 0
    run: int = 0
    fixed: bool = False
    longest: int = 0
    """The longest run at the end of one of its alternatives."""
    empty: bool = False
    """One of its alternatives may be empty."""
    alternatives: int = 0
    heaviest: float = GROUP
    """Parts of the heaviest place in it."""


@dataclass(slots=True)
class _Count:
    """Counts token by token."""

    cost: float = 0
    run: int = 0
    """Parts that may be skipped or go on, with nothing fixed behind them."""
    fixed: bool = False
    """Whether something fixed stands in this alternative."""
    groups: list[_Group] = field(default_factory=lambda: [_Group()])

    def add(self, found: re.Match[str]) -> None:
        """Counts one more token."""
        repeated = found["repeated"]
        if found["close"]:
            self._close(repeated)
        elif found["open"]:
            self.groups.append(_Group(self.cost, self.run, self.fixed))
            self.fixed = False
        elif found["either"]:
            self._end_alternative(self.groups[-1])
        else:
            self._part(found["part"], found["fixed"], repeated)

    def _part(self, part: str | None, literal: str | None, repeated: str | None) -> None:
        weight = _weight(part) if part else _literal(literal) if literal else GROUP
        group = self.groups[-1]
        group.heaviest = max(group.heaviest, weight)
        if repeated:
            times, loose = _times(repeated)
            self.run = self.run + 1 if loose else 0
            self.fixed |= not loose
            self.cost += weight * (self.run + times - loose)
        elif part or literal:
            self.run, self.fixed = 0, True
            self.cost += weight if part else 0

    def _end_alternative(self, group: _Group) -> None:
        group.longest = max(group.longest, self.run)
        group.empty |= not self.fixed
        group.alternatives += 1
        self.run, self.fixed = group.run, False

    def _close(self, repeated: str | None) -> None:
        group = self.groups.pop() if len(self.groups) > 1 else _Group()
        self.groups[-1].heaviest = max(self.groups[-1].heaviest, group.heaviest)
        self._end_alternative(group)
        times, loose = _times(repeated) if repeated else (1, group.empty and group.alternatives > 1)
        self.cost += (self.cost - group.cost) * (times - 1)
        self.run = group.longest
        if loose:
            self.run = max(self.run, group.run) + 1
            self.cost += group.heaviest * self.run
        self.fixed = group.fixed or not (loose or group.empty)


def _times(repeated: str) -> tuple[int, bool]:
    """Returns how often a part counts, and whether it may be skipped or go on without end."""
    if repeated in "?*+":
        return 1 + (repeated == "+"), True
    least, comma, most = (number.strip() for number in repeated[1:-1].partition(","))
    times = _number(most or least) + bool(comma and not most)
    return max(times, 1), not int(_number(least)) or bool(comma and not most)


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


@lru_cache(maxsize=1024)
def _weight(part: str) -> float:
    """Returns the parts of one place where a class may stand."""
    if _IS_BROAD.search(part):
        return BROAD
    characters = 0
    for found in _MEMBER.finditer(part.strip("[]") or part):
        begin, end = found[1], found[2]
        characters |= _SHORT.get(begin, _range(begin, begin)) if end is None else _range(begin, end)
    parts = ONE + sum(most * ((characters & all_).bit_count() / all_.bit_count()) ** 2 for all_, most in _LETTERS)
    parts += sum(most * (characters & all_).bit_count() / all_.bit_count() for all_, most in _OTHERS)
    return parts * _WITH_SPACE + _SPACE if characters & _set_of(" ") else parts


def _literal(text: str) -> float:
    return SPACE if " " in text else ONE


def _range(begin: str, end: str) -> int:
    """Returns the characters between two, which may be escaped, as bits; none where the second comes before the first."""
    return (1 << ord(end[-1]) + 1) - (1 << ord(begin[-1])) if begin[-1] <= end[-1] else 0


def regex_cost(text: str, most: float) -> float:
    """Counts the parts of a regular expression; the n-th of a run counts n times. Ends soon after `most`."""
    return _cost(_REGEX, text, most)


def grammar_cost(text: str, most: float) -> float:
    """Counts the parts of a grammar in EBNF or Lark's form, by the form that has more of them; see `regex_cost`."""
    cost = _cost(_GRAMMAR, text, most)
    return max(cost, _cost(_GRAMMAR, _SINGLE.sub(r'"\1"', text), most)) if "'" in text else cost


def length_cost(text: str, _most: float) -> float:
    """Counts the parts of the two bounds of a string's length, with a space between them."""
    return LENGTH if any(one.isdigit() and _number(one) > SHARED_LENGTH for one in text.split()) else 0


def _cost(tokens: re.Pattern[str], text: str, most: float) -> float:
    count = _Count()
    for found in tokens.finditer(text):
        count.add(found)
        if count.cost > most:
            break
    return count.cost
