"""How much work a regular expression or a grammar makes for the compiler of grammars, told by one look at its text.

Decides by parts: whatever stands for several characters (`.`, `[a-z]`, `\\d`) or is repeated (`?`, `*`, `+`, `{m,n}`). Measured with
xgrammar 0.2.8 and the vocabulary of Llama 4, on one core: each of `[a-z]{0,100}` costs 6 ms, each of `.{0,100}` 70 ms; 80 times `[^,]+, `
take 6 s. Parts that may be skipped cost more the more of them follow each other, because each may be where a token begins or ends: 10, 20
and 40 times `[a-z]?` take 0.1, 0.5 and 4 s, 8, 20 and 40 times `.?` 1, 4 and 33 s. A literal between them ends such a run: 200 times
`[a-z]?ab` take 0.2 s.
"""

import re
from dataclasses import dataclass, field

#: A part that stands for nearly every character counts as so many that stand for a few.
BROAD = 4
#: Digits of a number of repetitions; a longer number counts as the largest of these.
_DIGITS = 6
_REPEATED = r"(?P<repeated>[?*+]|\{\s*[0-9]+\s*(?:,\s*[0-9]*\s*)?\})"
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
_IS_BROAD = re.compile(r"\.|\[\^|\\[DWSpPuUx]|[^\x00-\x7f]")
#: A literal of a grammar in Lark's form, which vLLM writes in double quotation marks.
_SINGLE = re.compile(r"'([^'\r\n]*)'")


@dataclass(slots=True)
class _Group:
    """What was before a group, and how its alternatives so far end."""

    cost: int = 0
    run: int = 0
    fixed: bool = False
    longest: int = 0
    """The longest run at the end of one of its alternatives."""
    empty: bool = False
    """One of its alternatives may be empty."""
    alternatives: int = 0


@dataclass(slots=True)
class _Count:
    """Counts token by token."""

    cost: int = 0
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
        weight = BROAD if part and _IS_BROAD.search(part) else 1
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
        self._end_alternative(group)
        times, loose = _times(repeated) if repeated else (1, group.empty and group.alternatives > 1)
        self.cost += (self.cost - group.cost) * (times - 1)
        self.run = group.longest
        if loose:
            self.run = max(self.run, group.run) + 1
            self.cost += self.run
        self.fixed = group.fixed or not (loose or group.empty)


def _times(repeated: str) -> tuple[int, bool]:
    """Returns how often a part counts, and whether it may be skipped or go on without end."""
    if repeated in "?*+":
        return 1, True
    least, comma, most = (number.strip() for number in repeated[1:-1].partition(","))
    times = _number(most or least) + bool(comma and not most)
    return max(times, 1), not int(_number(least)) or bool(comma and not most)


def _number(digits: str) -> int:
    return int(digits) if len(digits) <= _DIGITS else 10**_DIGITS


def regex_cost(text: str, most: int) -> int:
    """Counts the parts of a regular expression; the n-th of a run counts as n. Ends soon after `most`."""
    return _cost(_REGEX, text, most)


def grammar_cost(text: str, most: int) -> int:
    """Counts the parts of a grammar in EBNF or Lark's form, by the form that has more of them; see `regex_cost`."""
    cost = _cost(_GRAMMAR, text, most)
    return max(cost, _cost(_GRAMMAR, _SINGLE.sub(r'"\1"', text), most)) if "'" in text else cost


def _cost(tokens: re.Pattern[str], text: str, most: int) -> int:
    count = _Count()
    for found in tokens.finditer(text):
        count.add(found)
        if count.cost > most:
            break
    return count.cost
