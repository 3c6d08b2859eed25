"""`herd`: the operator's commands.

Decides which there are. Each has a file of its own, which is imported when the command is typed. Exit codes are in
`deployments.commands.terminal`.
"""

from collections import UserDict
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Annotated, Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from deployments.commands.terminal import STAYS, WRONG_WORDS, interrupt, misused, out, reflowed

#: The function of each command, or the commands below it, by the word that is typed: module of this folder, and name in it.
COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "init": "describing.init:init",
        "plan": "plan:plan",
        "simulate": "simulating.simulate:simulate",
        "pull": "pull:pull",
        "doctor": "doctor:doctor",
        "up": "changing.up:up",
        "diff": "changing.diff:diff",
        "scale": "changing.scale:scale",
        "restart": "changing.restart:restart",
        "stop": "changing.stop:stop",
        "start": "changing.start:start",
        "rollback": "changing.rollback:rollback",
        "down": "changing.down:down",
        "status": "looking.status:status",
        "top": "looking.top.command:top",
        "why": "looking.why:why",
        "logs": "looking.logs:logs",
        "events": "looking.events:events",
        "models": "using.models:models",
        "chat": "using.chat:chat",
        "bench": "using.bench:bench",
        "validate": "describing.validate:validate",
        "schema": "describing.schema:schema",
        "secret": "secret:secret",
        "support-bundle": "describing.support_bundle:support_bundle",
        "cluster": "cluster_emit:commands",
        "config": "describing.config:commands",
        "monitor": "beside.monitor:commands",
    }
)


#: Typer raises it for a command line that cannot be understood.
USAGE_ERROR = cast(type[Exception], typer.BadParameter.__base__)


class _Commands(UserDict[str, Any]):
    """The commands by the word that is typed. Each is imported and made when it is looked up, so that one need not wait for all."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(COMMANDS))

    def __getitem__(self, word: str) -> TyperCommand | TyperGroup:
        if self.data[word] is None:
            self.data[word] = _made(word)
        found: TyperCommand | TyperGroup = self.data[word]
        return found


class _Group(TyperGroup):
    """`herd`, of which only the command that is typed is imported; all are for the list of `herd --help`."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 (Typer's own)
        super().__init__(**given)
        self.commands = _Commands()

    def list_commands(self, ctx: object) -> list[str]:
        """Returns the words, in the order of the help."""
        return list(COMMANDS)

    def main(  # as Typer's own
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Runs a command line, and tells what is wrong with it as all errors are told: in a box, a path would be cut at its rim."""
        try:
            done = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except USAGE_ERROR as error:
            misused(error)
            raise SystemExit(WRONG_WORDS) from None
        except typer.Abort:
            interrupt("")
        if standalone_mode:
            raise SystemExit(done or 0)
        return done


def _made(word: str) -> TyperCommand | TyperGroup:
    module, _, name = COMMANDS[word].partition(":")
    found = getattr(import_module(f"deployments.commands.{module}"), name)
    alone = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=word)
    else:
        alone.command(word, help=reflowed(found.__doc__))(found)
    return cast(TyperCommand | TyperGroup, typer.main.get_group(alone).commands[word])


app = typer.Typer(cls=_Group, no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _tell_version(asked: bool) -> None:
    if asked:
        from deployments.commands.versions import versions

        out.print("\n".join(f"{name} {told}" for name, told in versions().items()), markup=False)
        raise typer.Exit


@app.callback()
def herd(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the versions of herd, Ray, vLLM, PyTorch, Python."),
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colours, before or behind the command's name.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print no steps, hints or warnings: answers and errors only. Also anywhere.")
    ] = False,
) -> None:
    """Serve Meta's Llama herd on your own machines: one YAML file in, one OpenAI-compatible endpoint out.

    A first look, without a GPU:

    \b
    herd up
    herd chat smollm2
    herd down
    """  # `deployments.__main__` has taken the last two already: the consoles were made by them


def main(words: Sequence[str]) -> None:
    """Runs the command that these words name."""
    try:
        app(words, prog_name="herd")
    except KeyboardInterrupt:
        interrupt(STAYS)
