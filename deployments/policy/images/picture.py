"""The header of an image's file, and how the gateway refuses one that it will not pass on."""

from dataclasses import dataclass

#: Pictures of one file. An engine reads the first one only; the bound keeps what a decoder must walk through small.
MOST_FRAMES = 256


class Unfit(Exception):
    """An image cannot be served. The text says why, as the end of a sentence that begins with "The image"."""


@dataclass(frozen=True, slots=True)
class Header:
    """The head of an image's file."""

    media_type: str
    """By its content, for example `image/png`."""
    width: int
    """In pixels, as a decoder will allocate them."""
    height: int
    frames: int = 1

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return self.width * self.height


def damaged(kind: str) -> Unfit:
    """The refusal of a file whose structure does not hold to its format."""
    return Unfit(f"is a damaged or incomplete {kind} file")
