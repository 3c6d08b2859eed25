"""Threads that follow or write something beside their owner, and begin anew where they have ended."""

import threading
from collections.abc import Callable


def running(thread: threading.Thread | None, work: Callable[[], None], name: str) -> threading.Thread:
    """Returns a thread that does the work: the given one if it still does, else a new one."""
    if thread is None or not thread.is_alive():
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
    return thread
