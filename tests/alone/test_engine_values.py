"""The kinds and words of engine arguments in `configs.engine_values`, beside the installed vLLM's own annotations."""

import re

import pytest

from configs.engine_values import BOOLEANS, CHOICES, GREATEST, LEAST, LISTS, MAPPINGS, NULLABLE_CHOICES, NUMBERS, TEXTS, WHOLE
from tests.alone import vllm_itself

OF_A_KIND = {
    r"(<class 'bool'>|bool)": BOOLEANS,
    r"(<class 'int'>|int)": WHOLE,
    r"(<class 'float'>|float)": NUMBERS,
    r"(<class 'str'>|str)": TEXTS,
    r"(dict\b.*|<class 'dict'>|(<class ')?vllm\.config\..*)": MAPPINGS,
    r"list\[.*": LISTS,
}


@pytest.fixture(scope="module")
def annotations() -> dict[str, str]:
    said: dict[str, str] = vllm_itself.ask("argument_kinds")
    return said


def test_kinds_are_vllms(annotations: dict[str, str]) -> None:
    for pattern, names in OF_A_KIND.items():
        for name, nullable in names.items():
            said = annotations[name]
            kind = said.replace("| None", "").removeprefix("typing.Optional[").strip()
            assert re.fullmatch(pattern, kind) or kind.startswith("dict"), (name, said)
            assert nullable == ("None" in said), (name, said)


def test_words_are_vllms(annotations: dict[str, str]) -> None:
    for name, words in CHOICES.items():
        assert tuple(re.findall(r"'([^']+)'", annotations[name])) == words, name
        assert (name in NULLABLE_CHOICES) == (annotations[name].startswith("typing.Optional") or "None" in annotations[name]), name


def test_bounds_are_of_numbers() -> None:
    assert LEAST.keys() | GREATEST.keys() <= WHOLE.keys() | NUMBERS.keys()
