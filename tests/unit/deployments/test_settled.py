"""`deployments.settled`: what is put into large pages, and that it stays what it was."""

import ctypes
import gc
import mmap
from pathlib import Path

import pytest

from deployments import settled
from deployments.settled import put_together, whole_pages

SIZE = 2 << 20
MAPS = """\
00400000-00a00000 r-xp 00000000 fe:00 77 /usr/bin/python3
00c00000-01000000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0000700000 rw-p 00000000 00:00 0
7f0000800000-7f00009ff000 rw-p 00000000 00:00 0
7f0001000000-7f0001400000 rw-s 00000000 00:05 9 /dev/shm/plasma
7f0002000000-7f0002400000 ---p 00000000 00:00 0
7f0003000000-7f0003400000 rw-p 00000000 fe:00 78 /usr/lib/libc.so.6
7ffc00000000-7ffc00400000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_whole_pages_of_the_processes_own_memory_are_put_together() -> None:
    assert list(whole_pages(MAPS, SIZE)) == [0xC00000, 0xE00000, 0x7F0000200000, 0x7F0000400000]


def test_memory_stays_what_it_was() -> None:
    with mmap.mmap(-1, 4 * SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        written = bytes(range(256)) * (SIZE // 64)
        memory[:] = written
        held = ctypes.c_char.from_buffer(memory)
        begin = ctypes.addressof(held)
        put_together(whole_pages(f"{begin:x}-{begin + 4 * SIZE:x} rw-p 00000000 00:00 0", SIZE), SIZE)
        del held
        assert memory[:] == written


@pytest.mark.parametrize(
    ("enabled", "times"), [("always [madvise] never", 1), ("[always] madvise never", 1), ("always madvise [never]", 0)]
)
def test_large_pages_are_left_alone_where_the_operator_wants_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enabled: str, times: int
) -> None:
    (tmp_path / "hpage_pmd_size").write_text(f"{SIZE}\n", encoding="ascii")
    (tmp_path / "enabled").write_text(f"{enabled}\n", encoding="ascii")
    called: list[int] = []
    monkeypatch.setattr(settled, "_PAGES", tmp_path)
    monkeypatch.setattr(settled, "put_together", lambda _pages, size: called.append(size))
    settled.settle()
    gc.unfreeze()
    assert called == [SIZE] * times
