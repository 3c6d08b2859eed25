"""The entry of `herd`, and of `python -m deployments`.

Decides which commands are imported: `herd plan`, which people ask again and again with other words, is answered before those that act on
a cluster would be imported.
"""

import sys

import typer

from deployments.commands.plan import plan


def main() -> None:
    """Runs the command that the command line names."""
    if sys.argv[1:2] == ["plan"]:
        _plan(sys.argv[2:])
        return
    from deployments.commands.main import main as any_command

    any_command()


def _plan(words: list[str]) -> None:
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command()(plan)
    app(words, prog_name="herd plan")


if __name__ == "__main__":
    main()
