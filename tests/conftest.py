"""The terminal of every test and of every command that it starts: wide, and without colours, whoever's shell it is."""

import os

# Rich reads some of them once, when the commands are imported: here is before that.
os.environ |= {"COLUMNS": "200", "NO_COLOR": "1"}
for _name in ("LINES", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
    os.environ.pop(_name, None)
