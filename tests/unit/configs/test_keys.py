"""`configs.keys`: a key for each purpose, and secrets that can be guessed."""

import hashlib
from itertools import combinations

import pytest

from configs.keys import LEAST_LENGTH, PURPOSES, VARIABLES, Purpose, WeakSecret, derived

ROOT = "0123456789abcdef" * 2


def test_keys_are_told_apart_and_none_has_the_secret() -> None:
    keys = [derived(ROOT, purpose) for purpose in PURPOSES]
    assert all(len(key) == 64 and ROOT not in key for key in keys)
    assert all(one != other for one, other in combinations([*keys, hashlib.sha256(ROOT.encode()).hexdigest()], 2))
    assert len({VARIABLES[purpose] for purpose in PURPOSES}) == len(PURPOSES)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_key_is_the_hash_of_the_purpose_and_the_secret(purpose: Purpose) -> None:
    assert derived(ROOT, purpose) == hashlib.sha256(b"llama-herd/v1/%b:%b" % (purpose.encode(), ROOT.encode())).hexdigest()
    assert derived(ROOT, purpose) != derived(ROOT[:-1] + "0", purpose)


@pytest.mark.parametrize(
    ("weak", "said"),
    [("", "has 0 characters"), ("changeme", "has 8 characters"), (ROOT[:-1], f"needs {LEAST_LENGTH}"), ("a" * 64, "1 different")],
)
def test_secret_that_can_be_guessed_gives_no_key(weak: str, said: str) -> None:
    with pytest.raises(WeakSecret, match=f"{said}.*openssl rand -hex 32"):
        derived(weak, "door")
