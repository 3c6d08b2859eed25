"""Processes of this machine, looked at while they come and go: one that has ended meanwhile is passed over, and is no error."""

import psutil


def words(process: psutil.Process) -> str:
    """Returns a process's command line, or its name where it has none; nothing where it has ended."""
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return ""


def environment(process: psutil.Process) -> dict[str, str]:
    """Returns a process's environment; nothing where it has ended, or is not ours to look at."""
    try:
        return process.environ()
    except psutil.Error:
        return {}


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """Returns all processes that a process has started, and theirs; none where it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []
