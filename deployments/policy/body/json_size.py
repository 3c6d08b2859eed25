"""How many bytes a decoded value has as JSON, found without writing a value that is far too large.

Decides over one decoded value. One field of a body may have tens of MiB, and an encoder cannot be interrupted; here the work ends at
the bound.
"""

from typing import Any

import msgspec


def json_size(value: Any, most: float) -> int:  # noqa: ANN401 (whatever a client sends)
    """Counts the bytes of a value as JSON: exactly up to `most`; of a larger value, some number that is larger than `most`."""
    size = _at_least(value, most)
    return size if size > most else len(msgspec.json.encode(value))


def _at_least(value: Any, most: float) -> int:  # noqa: ANN401
    """Counts at least one byte for each value, and all characters and separators; stops soon after `most`."""
    size, left = 1, [value]
    while left and size <= most:
        node = left.pop()
        if isinstance(node, str):
            size += len(node) + 1
        elif isinstance(node, list):
            size += 2 * len(node)
            if size <= most:
                left += node
        elif isinstance(node, dict):
            size += 5 * len(node)
            if size <= most:
                size += sum(map(len, node))
                left += node.values()
    return size
