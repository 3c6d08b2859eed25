"""Files of this machine that a message of a chat takes along: pictures as `data:` URLs, text as text.

Decides what a picture and a text may be, by its bytes. The endpoint checks them again; here they are refused before they are sent.
"""

import base64
import shlex
from pathlib import Path
from typing import Any

from configs.given_files import CannotRead, contents
from deployments.policy.images.header import header
from deployments.policy.images.picture import Unfit

#: A message is one HTTP body, of which a gateway takes 64 MiB; base64 adds a third.
MOST_IMAGE_BYTES = 20 << 20
#: About 128,000 tokens of English.
MOST_TEXT_BYTES = 512 << 10


class CannotAttach(ValueError):
    """A file cannot go with a message; the message of the error says why."""


def paths(words: str) -> list[Path]:
    """Returns the files that the words behind a command name: one with spaces in its name, or several, quoted where they have spaces.

    Raises:
        CannotAttach: the words name no file.
    """
    whole = Path(words).expanduser()
    if words and whole.is_file():
        return [whole]
    try:
        found = [Path(word).expanduser() for word in shlex.split(words)]
    except ValueError as error:
        raise CannotAttach(f"{words}: {error}") from error
    if not found:
        raise CannotAttach("name a file behind the command")
    return found


def image(path: Path) -> dict[str, Any]:
    """Returns a picture as a part of a message.

    Raises:
        CannotAttach: it cannot be read, is too large, or is no picture that an engine takes.
    """
    data = _bytes(path, MOST_IMAGE_BYTES)
    try:
        kind = header(data).media_type
    except Unfit as error:
        raise CannotAttach(f"{path} {error}") from error
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}


def text(path: Path) -> str:
    """Returns the text of a file, under its name.

    Raises:
        CannotAttach: it cannot be read, is too large, or is not text in UTF-8.
    """
    data = _bytes(path, MOST_TEXT_BYTES)
    try:
        said = data.decode()
    except UnicodeDecodeError as error:
        raise CannotAttach(f"{path} is not text in UTF-8") from error
    if "\0" in said:
        raise CannotAttach(f"{path} is not text")
    return f"File {path.name}:\n\n{said}"


def _bytes(path: Path, most: int) -> bytes:
    """Reads at most so many bytes; a file that grows, or that never ends, is too large as well."""
    try:
        data = contents(path, most)
    except CannotRead as error:
        raise CannotAttach(f"{path} cannot be read: {error}") from error
    if len(data) > most:
        raise CannotAttach(f"{path} has more than {most >> 10:,} KiB")
    return data
