"""The head of a JPEG file: its segments up to the first scan, and how many scans follow."""

import re

from deployments.policy.images.picture import Header, Unfit, damaged

#: Segments of one file: metadata of cameras needs some hundreds at most. Pillow keeps a copy of each.
_MOST_SEGMENTS = 4096
#: Bytes between segments that belong to none. Pillow reads them one by one.
_MOST_STRAY_BYTES = 1 << 16
#: Bytes searched at a time.
_PIECE = 1 << 18
#: A progressive picture is decoded once for each of its scans, which may be empty; encoders write about ten.
_MOST_SCANS = 100

#: Any number of 0xFF may stand before a marker; this matches the last one.
_MARKER = re.compile(rb"\xff([^\xff])", re.DOTALL)
#: What ends a scan. A 0xFF of the picture itself is followed by 0, and restart markers (0xD0 to 0xD7) stand inside a scan.
_AFTER_SCAN = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
#: Markers without a length: JPG, the start and end of a file, restarts, and the extensions JPG0 to JPG13.
_ALONE = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
#: Frames that libjpeg decodes: baseline, extended, progressive, lossless, and the first three with arithmetic coding.
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA})
#: Every marker that Pillow reads a size from: also those of hierarchical files.
_SIZES = frozenset({*range(0xC0, 0xD0), 0xDE}) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9


def header(data: bytes) -> Header:
    """Reads the segments of a JPEG file.

    Raises:
        Unfit: the file is damaged, of a kind that engines cannot decode, or has more segments or scans than any camera writes.
    """
    at, stray, found = 2, 0, None
    for _ in range(_MOST_SEGMENTS):
        marker = _MARKER.search(data, at, at + _MOST_STRAY_BYTES + 2)
        if marker is None:
            break
        stray += marker.end() - at - 2
        if stray > _MOST_STRAY_BYTES:
            break
        code, at = marker[1][0], marker.end()
        if code in _ALONE or code == 0:
            continue
        end = _end(data, at) if code >= 0xC0 else None
        if end is None:
            break
        if code in _SIZES:
            found = _frame(code, data[at + 2 : end], found)
        if code == _SCAN:
            return _with_scans(found, data, end)
        at = end
    raise damaged("JPEG")


def _end(data: bytes, at: int) -> int | None:
    """Where the segment ends whose length stands at `at`; None where the file ends before."""
    length = int.from_bytes(data[at : at + 2], "big")
    end = at + length
    return end if length >= 2 and end <= len(data) else None


def _frame(code: int, frame: bytes, before: Header | None) -> Header:
    """The size in a frame's head: sample bits, height, width, number of components."""
    if before is not None or len(frame) < 6:
        raise damaged("JPEG")
    if code not in _FRAMES or frame[0] != 8 or frame[5] not in (1, 3, 4):
        raise Unfit("is a JPEG file of a kind that is not served (12 bits, hierarchical, or with an unusual number of colours)")
    return Header("image/jpeg", int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big"))


def _with_scans(found: Header | None, data: bytes, at: int) -> Header:
    """Walks on from the first scan to the end of the picture, and counts."""
    if found is None:
        raise damaged("JPEG")
    scans = 1
    for _ in range(_MOST_SEGMENTS):
        marker = _end_of_scan(data, at)
        if marker is None or marker[1][0] == _END:
            return found
        code, at = marker[1][0], marker.end()
        if code in _ALONE:
            continue
        end = _end(data, at)
        if end is None:
            return found
        at, scans = end, scans + (code == _SCAN)
        if scans > _MOST_SCANS:
            break
    raise Unfit(f"is a JPEG file of more than {_MOST_SCANS} scans; save it anew")


def _end_of_scan(data: bytes, at: int) -> re.Match[bytes] | None:
    """The first marker that ends a scan. Searched piece by piece: no single step over a large file holds the interpreter for long."""
    for start in range(at, len(data), _PIECE - 1):
        marker = _AFTER_SCAN.search(data, start, start + _PIECE)
        if marker is not None:
            return marker
    return None
