"""Hints for a path that is not served: the one that may have been meant.

Decides by what clients' settings get wrong: a base URL with a slash too many, with `/v1` twice or not at all, or in capitals.
"""

import re
from collections.abc import Collection
from urllib.parse import unquote

#: Longer ones are no slip.
_MOST_CHARACTERS = 200
_SLASHES = re.compile(r"/{2,}")
_VERSIONS = re.compile(r"^(/v1)+(?=/)")


def meant(path: str, known: Collection[str]) -> str | None:
    """The served path that an unknown one is nearest to; none where it is near none.

    Args:
        path: as it came.
        known: the paths that are served.
    """
    if len(path) > _MOST_CHARACTERS:
        return None
    tidy = _SLASHES.sub("/", unquote(path).lower()).rstrip("/")
    tidy = _VERSIONS.sub("/v1", tidy)
    for found in (tidy, f"/v1{tidy}", tidy.removeprefix("/v1"), tidy.removeprefix("/openai"), tidy.removeprefix("/api")):
        if found in known:
            return found
    return None
