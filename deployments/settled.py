"""The memory of a process that has begun to serve: what it has loaded by then stays for as long as it runs.

Decides which memory is worth large pages: all that is private, can be written, and is no file's. The interpreter's objects lie scattered
over it, and the processor finds a small page's address again for nearly each of them, on a virtual machine twice.
"""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

_PAGES = Path("/sys/kernel/mm/transparent_hugepage")
#: With pages of 64 KiB, as some ARM kernels have them, a large one has 512 MiB.
MOST_BYTES = 2 << 20
#: Linux's names for `madvise`: large pages are welcome here; these small ones are put together now (since 6.1).
_WELCOME, _NOW = 14, 25


def settle() -> None:
    """Takes what is loaded by now out of later collections, and puts it into large pages where the system has them."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError):  # no Linux, or one without large pages
        size = int((_PAGES / "hpage_pmd_size").read_text(encoding="ascii"))
        if size <= MOST_BYTES and "[never]" not in (_PAGES / "enabled").read_text(encoding="ascii"):  # the operator's word
            put_together(whole_pages(Path("/proc/self/maps").read_text(encoding="utf-8"), size), size)


def whole_pages(maps: str, size: int) -> Iterator[int]:
    """Yields the addresses of the large pages of this size that fit into a process's memory.

    Args:
        maps: the memory, as `/proc/self/maps` tells it.
        size: of a large page.
    """
    for line in maps.splitlines():
        between, rights, _offset, _device, inode, *name = line.split()
        if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            begin, end = (int(address, 16) for address in between.split("-"))
            yield from range(-(-begin // size) * size, end - size + 1, size)


def put_together(pages: Iterator[int], size: int) -> None:
    """Makes each of these a large page. The system refuses those of which nothing is used."""
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for page in pages:
        for advice in (_WELCOME, _NOW):
            advise(page, size, advice)
