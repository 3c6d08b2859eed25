"""Where the commands speak: answers on standard output, all else on standard error. Decides nothing."""

from rich.console import Console

#: One console for each stream: a spinner on one knows of every line that is printed through it.
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

#: The exit code for a config that cannot be used.
WRONG_CONFIG = 3


def tell(sentence: str) -> None:
    """Says on standard error what cannot be."""
    err.print("[red]✗[/red] ", end="")
    err.print(sentence, markup=False, soft_wrap=True)
