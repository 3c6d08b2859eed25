"""The folder in which the Ray of this process's node writes its logs. Needs a connection to Ray.

Decides nothing. Ray has no public name for it.
"""

from pathlib import Path


def logs_folder() -> Path:
    """Returns the folder of the logs of the node's present session."""
    from ray._private import worker

    return Path(worker._global_node.get_logs_dir_path())  # noqa: SLF001 (Ray Serve finds its folder so, too)
