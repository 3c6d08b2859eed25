"""What all tests share: a terminal that is wide and without colours, and how many examples a law is tried with.

Laws run the same examples every time: a gate must not turn red on a change that has nothing to do with it. `make check` takes a
third of them (`--hypothesis-profile quick`), `make test` all.
"""

import gc
import os
import signal

from hypothesis import HealthCheck, settings

# Rich reads some of them once, when the commands are imported: here is before that.
os.environ |= {"COLUMNS": "200", "NO_COLOR": "1"}
for _name in ("LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)

# A shell that runs the tests in the background ignores Ctrl-C, and so would every program that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

_BUSY = [HealthCheck.too_slow]  # so is every strategy on a machine that does other things as well
settings.register_profile("herd", derandomize=True, deadline=None, max_examples=50, suppress_health_check=_BUSY)
settings.register_profile("quick", settings.get_profile("herd"), max_examples=17)
settings.load_profile("herd")  # before the option `--hypothesis-profile` is looked at, which has the last word


gc.disable()  # while modules are imported and tests collected: nearly all of that stays


def pytest_collection_finish() -> None:
    """Takes what was imported and collected out of the garbage collector's sight: to walk over it again and again is slow."""
    gc.freeze()
    gc.enable()
