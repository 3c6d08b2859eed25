"""HTML as text that is escaped unless it was made here: no name of a model can become markup.

Decides nothing.
"""

from collections.abc import Iterator
from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(tag: str, *children: str, **attributes: str | None) -> Markup:
    """Returns an element. A child that is no `Markup` is text, and is escaped.

    Args:
        tag: its name.
        children: texts and elements.
        attributes: by name, where `_` at the end is left off and others stand for `-`; one that is None is left out.
    """
    told = "".join(f' {_name(name)}="{escape(value)}"' for name, value in attributes.items() if value is not None)
    return Markup(f"<{tag}{told}>{together(*children)}</{tag}>")


def together(*children: str) -> Markup:
    """Returns texts and elements one after the other."""
    return Markup("".join(_pieces(children)))


def _pieces(children: tuple[str, ...]) -> Iterator[str]:
    for child in children:
        yield child if isinstance(child, Markup) else escape(child)


def _name(name: str) -> str:
    return name.rstrip("_").replace("_", "-")
