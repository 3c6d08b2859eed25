"""The head of a GIF file: its screen, which a larger first frame extends, and the number of its frames."""

import struct

from deployments.policy.images.picture import MOST_FRAMES, Header, Unfit, damaged

#: Blocks of one file: 255 bytes each, but for a frame's last.
_MOST_BLOCKS = 1 << 18
#: Extensions of one file, each of which takes as long as eight blocks: an animation has one or two for each frame.
_MOST_EXTENSIONS = 1 << 12
_TOO_MANY = "is a GIF file of too many blocks; save it anew"
_IMAGE, _EXTENSION, _COMMENT, _CONTROL, _APPLICATION = 0x2C, 0x21, 0xFE, 0xF9, 0xFF
_SCREEN = struct.Struct("<HHB")
_FRAME = struct.Struct("<HHHHB")


def header(data: bytes) -> Header:
    """Reads the blocks of a GIF file.

    Raises:
        Unfit: the file is damaged before its first picture, or has more blocks or frames than are walked through.
    """
    try:
        return _read(data)
    except (IndexError, struct.error) as error:  # the file ends inside its head
        raise damaged("GIF") from error


def _read(data: bytes) -> Header:
    width, height, flags = _SCREEN.unpack_from(data, 6)
    at, extensions = 13 + _palette(flags), 0
    while data[at] == _EXTENSION:
        at, extensions = _after_extension(data, at), extensions + 1
        _check_extensions(extensions)
    if data[at] != _IMAGE:
        raise damaged("GIF")
    left, top, frame_width, frame_height, _flags = _FRAME.unpack_from(data, at + 1)
    frames = _frames(data, at)
    return Header("image/gif", max(width, left + frame_width), max(height, top + frame_height), frames)


def _palette(flags: int) -> int:
    """Bytes of the palette that follows."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_extension(data: bytes, at: int) -> int:
    """Where an extension before the first frame ends. Refuses those at whose end Pillow does not stop where the standard does."""
    label, length = data[at + 1], data[at + 2]
    first = data[at + 3 : at + 3 + length]
    second = data[at + 3 + length]
    empty = label != _COMMENT and not length
    short = label == _CONTROL and length < 4
    endless = label == _APPLICATION and first.startswith(b"NETSCAPE2.0") and not second
    if empty or short or endless:
        raise damaged("GIF")
    return _after_blocks(data, at + 2, _MOST_BLOCKS)[0]


def _after_blocks(data: bytes, at: int, most: int) -> tuple[int, int]:
    """Where a row of blocks ends, and how many it has.

    Raises:
        IndexError: the file ends before.
    """
    for count in range(most):
        length = data[at]
        at += 1 + length
        if not length:
            return at, count
    raise Unfit(_TOO_MANY)


def _frames(data: bytes, at: int) -> int:
    """Counts the frames, from the first one's head on; a file that ends before its end has those that it has."""
    frames, extensions, left = 0, 0, _MOST_BLOCKS
    try:
        while data[at] in (_IMAGE, _EXTENSION):
            left -= 1
            if data[at] == _IMAGE:
                frames += 1
                _check_number(frames)
                at, blocks = _after_blocks(data, at + 11 + _palette(data[at + 9]), left)
            else:
                extensions += 1
                _check_extensions(extensions)
                at, blocks = _after_blocks(data, at + 2, left)
            left -= blocks
    except IndexError:
        pass
    return frames


def _check_number(frames: int) -> None:
    if frames > MOST_FRAMES:
        raise Unfit(f"has more than {MOST_FRAMES} frames; send only the first, which alone is read")


def _check_extensions(number: int) -> None:
    if number > _MOST_EXTENSIONS:
        raise Unfit(_TOO_MANY)
