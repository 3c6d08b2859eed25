"""The shell of a node."""

from pathlib import Path

import pytest

from tests.unit.cluster.provision.shells import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Runs a node's command in bash, as `ray up` does."""
    return Shell(tmp_path)
