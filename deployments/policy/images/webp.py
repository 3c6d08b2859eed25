"""The head of a WebP file: its canvas, or its only picture's size, and the number of its frames."""

import struct

from deployments.policy.images.picture import MOST_FRAMES, Header, Unfit, damaged

#: Chunks of one file: a head, metadata, and the frames.
_MOST_CHUNKS = 4096
_CHUNK = struct.Struct("<4sI")


def header(data: bytes) -> Header:
    """Reads the chunks of a WebP file. Source of the layout: RFC 9649, section 2.

    Raises:
        Unfit: the file is damaged, or another kind of RIFF file, or has more chunks or frames than are walked through.
    """
    if data[8:12] != b"WEBP":
        raise Unfit("is not a JPEG, PNG, WebP or GIF file; convert it to one of these")
    if len(data) < 30:
        raise damaged("WebP")
    match data[12:16]:
        case b"VP8 " if data[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", data, 26)
            return Header("image/webp", width & 0x3FFF, height & 0x3FFF)
        case b"VP8L" if data[20] == 0x2F:
            bits = int.from_bytes(data[21:25], "little")
            return Header("image/webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8X":
            width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
            return Header("image/webp", width, height, _frames(data))
    raise damaged("WebP")


def _frames(data: bytes) -> int:
    """Counts the frames of a file with a canvas."""
    at, frames = 12, 0
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            break
        name, length = _CHUNK.unpack_from(data, at)
        frames += name == b"ANMF"
        at += 8 + length + (length & 1)
    else:
        raise Unfit("is a WebP file of too many chunks; save it anew")
    if frames > MOST_FRAMES:
        raise Unfit(f"has {frames} frames; at most {MOST_FRAMES} are taken, and the first is read")
    return max(frames, 1)
