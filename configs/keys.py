"""A key for each purpose, made of the herd's one secret: no key tells the secret, or another key.

Decides how a key is made: SHA-256 over the purpose and the secret, in hexadecimal. The purpose stands first and ends with a colon, so no
two purposes ever hash the same bytes, and going on with a hash (length extension) gives keys of longer secrets only. HMAC would be as good,
but a node's shell can compute it only with the secret in the arguments of `openssl`, where `ps` shows it to every user of the node.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal, get_args

Purpose = Literal["door", "weights", "pages", "ray"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
#: The secret that all keys are made of. No process that serves needs it where the keys below are set.
ROOT = "HERD_SECRET"
#: Where a process finds its keys.
VARIABLES: dict[Purpose, str] = {
    "door": "HERD_DOOR_KEY",
    "weights": "HERD_WEIGHTS_KEY",
    "pages": "HERD_PAGES_KEY",
    "ray": "RAY_AUTH_TOKEN",
}
#: What gateways and engines need beside Ray's token, which is made elsewhere for a local herd and on Kubernetes.
SERVING: tuple[Purpose, ...] = ("door", "weights", "pages")
#: Of `openssl rand -hex 16`, 128 bits.
LEAST_LENGTH = 32
#: 32 random hexadecimal digits have fewer different ones once in 20 million times; a word written many times has fewer always.
LEAST_VARIETY = 8
_PREFIX = "llama-herd/v1/"
WAY_OUT = "make one with `openssl rand -hex 32`"


class WeakSecret(ValueError):
    """The herd's secret can be guessed; the message says why, and how to make a better one. It never has the secret."""


def derived(root: str, purpose: Purpose) -> str:
    """Makes a purpose's key, 64 hexadecimal digits.

    Raises:
        WeakSecret: the secret can be guessed, and so could every key of it.
    """
    if len(root) < LEAST_LENGTH:
        raise WeakSecret(f"{ROOT} has {len(root)} characters, and needs {LEAST_LENGTH} at least: {WAY_OUT}")
    if (variety := len(set(root))) < LEAST_VARIETY:
        raise WeakSecret(f"{ROOT} is made of {variety} different characters, and needs {LEAST_VARIETY} at least: {WAY_OUT}")
    return hashlib.sha256(f"{_PREFIX}{purpose}:{root}".encode()).hexdigest()


def in_shell(purposes: Iterable[Purpose]) -> list[str]:
    """Makes the same keys in a POSIX shell that has the secret, and exports them; or ends the shell with a sentence. Returns its lines.

    The secret is in no program's arguments: `printf` is a part of the shell.
    """
    weak = f"{ROOT} on this node is too short or has too few different characters: {WAY_OUT}"
    return [
        f'test -n "${ROOT}" || {{ echo "{ROOT} is not known on this node: see secret_command" >&2; exit 1; }}',
        f'test "${{#{ROOT}}}" -ge {LEAST_LENGTH} && test "$(printf %s "${ROOT}" | fold -w 1 | sort -u | wc -l)" -ge {LEAST_VARIETY} ||',
        f"  {{ echo '{weak}' >&2; exit 1; }}",
        f'herd_key() {{ printf "{_PREFIX}$1:%s" "${ROOT}" | sha256sum | cut -d " " -f 1; }}',
        *(f'{VARIABLES[purpose]}="$(herd_key {purpose})"' for purpose in purposes),
        f"export {' '.join(VARIABLES[purpose] for purpose in purposes)}",
    ]
