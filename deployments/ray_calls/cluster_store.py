"""Texts that a Ray cluster keeps for the herd's commands. Needs a connection to Ray.

They are in the GCS, beside what Ray Serve itself keeps there: everybody with the cluster's token sees them, from any node, and where the
GCS has a store outside (Redis), they outlive the head. Decides nothing.
"""

from collections.abc import Sequence

NAMESPACE = "llama-herd"


def keep(name: str, text: str) -> None:
    """Keeps a text under a name, wholly or not at all; one that was there is replaced."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(name, text, overwrite=True, namespace=NAMESPACE)


def keep_new(name: str, text: str) -> bool:
    """Keeps a text under a name that has none; returns whether it was so. Of several that try at once one has it."""
    from ray.experimental.internal_kv import _internal_kv_put

    return not _internal_kv_put(name, text, overwrite=False, namespace=NAMESPACE)


def kept(name: str) -> str | None:
    """Returns the text of a name; None if there is none."""
    from ray.experimental.internal_kv import _internal_kv_get

    found = _internal_kv_get(name, namespace=NAMESPACE)
    return None if found is None else bytes(found).decode()


def forget(name: str) -> None:
    """Removes a name and its text, if they are there."""
    from ray.experimental.internal_kv import _internal_kv_del

    _internal_kv_del(name, namespace=NAMESPACE)


def names(beginning: str) -> list[str]:
    """Returns the names that begin so, in no order."""
    from ray.experimental.internal_kv import _internal_kv_list

    return [bytes(name).decode() for name in _internal_kv_list(beginning, namespace=NAMESPACE)]


def several(names: Sequence[str]) -> dict[str, str]:
    """Returns the texts of these names, as far as they are there. Asks the cluster once."""
    from ray.experimental.internal_kv import internal_kv_get_gcs_client

    if not names:
        return {}
    found = internal_kv_get_gcs_client().internal_kv_multi_get([name.encode() for name in names], NAMESPACE.encode())
    return {bytes(name).decode(): bytes(text).decode() for name, text in found.items()}
