"""What every test starts from: an environment that does not decide how wide or how coloured the commands' output is."""

import os

# Rich reads them once, when the commands are imported: here is before that.
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)
