"""A unit of systemd, run on a fake host without systemd: its commands in their order, with its variables and its folder.

Decides nothing about when it is started again: a test does that.
"""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.multihost.dockerd import PATH
from tests.multihost.hosts import Host


@dataclass(frozen=True)
class Unit:
    """What a unit's text says (systemd.syntax(7), systemd.service(5))."""

    text: str

    @property
    def lines(self) -> list[str]:
        """Its lines; one that ends with a backslash goes on, without comments."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line[:1] not in ("#", ";")]

    def commands(self, name: str) -> list[list[str]]:
        """The words of each command of this kind (`ExecStart`). A minus before a command means that it may fail."""
        found = [line.partition("=")[2] for line in self.lines if line.startswith(f"{name}=")]
        return [[word.replace("$$", "$").replace("%%", "%") for word in shlex.split(one)] for one in found]

    @property
    def variables(self) -> dict[str, str]:
        """Its environment, without quotes, escapes and specifiers."""
        values = [line.partition('="')[2].removesuffix('"') for line in self.lines if line.startswith('Environment="')]
        plain = [re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], value).replace("%%", "%") for value in values]
        return {name: value for name, _, value in (one.partition("=") for one in plain)}

    @property
    def folders(self) -> list[str]:
        """Those that systemd makes."""
        return [f"/var/lib/{line.partition('=')[2]}" for line in self.lines if line.startswith("StateDirectory=")]

    def start(self, host: Host, log: Path) -> "subprocess.Popen[bytes]":
        """Starts it on a host; returns its main process, which ends with the host.

        Raises:
            RuntimeError: a command before the start failed that must not.
        """
        into = ["nsenter", f"--target={host.init}", "--net", "--pid", "--mount", "--uts", "--wd=/"]
        environment = {"PATH": PATH, **self.variables}
        subprocess.run([*into, "mkdir", "-p", "/run", *self.folders], env={"PATH": PATH}, check=True, timeout=30)
        for words in self.commands("ExecStartPre"):
            may_fail = words[0].startswith("-")
            before = [words[0].removeprefix("-"), *words[1:]]
            done = subprocess.run([*into, *before], env=environment, capture_output=True, text=True, timeout=120, check=False)
            if done.returncode != 0 and not may_fail:
                raise RuntimeError(f"{before}\n{done.stdout}\n{done.stderr}")
        (start,) = self.commands("ExecStart")
        with log.open("ab") as file:
            return subprocess.Popen([*into, *start], env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
