"""Marks in source code, which tell afterwards which statements ran and which way each branch went.

A tracer is called back at each line, for ever, and makes tests of pure code take five times as long on Python 3.11. A mark is a
statement of its own, `_RAN[7] = True`, which costs 20 ns.
"""

import ast
from collections.abc import Iterator
from types import CodeType

#: The list in a marked module's globals that has True where a mark has been reached.
RAN = "_RAN"
_BLOCKS = ("body", "orelse", "finalbody")
#: Conditions of blocks that no test is asked to run: types are checked, programs are run by themselves.
_NEVER_RUN = {"TYPE_CHECKING", "__name__ == '__main__'"}

_Branching = ast.If | ast.For | ast.AsyncFor | ast.While


def marked(source: str, path: str) -> tuple[CodeType, list[str]]:
    """Compiles source code with a mark before each statement, and one wherever a branch goes on past its block.

    Returns:
        The code, and what each mark stands for: `12` is the statement in line 12, `12->` that the condition in line 12 was false, that
        the loop there came to its end, or that the last case, which stands there, did not match.
    """
    tree = ast.parse(source, path)
    meanings: list[str] = []
    for node in list(_nodes(tree)):
        for name in _BLOCKS:
            block = getattr(node, name, None)
            if isinstance(block, list):
                setattr(node, name, list(_with_marks(block, meanings)))
        if isinstance(node, _Branching) and not node.orelse and not isinstance(getattr(node, "test", None), ast.Constant):
            node.orelse = [_mark(node.lineno, meanings, f"{node.lineno}->")]
        if isinstance(node, ast.Match) and not _takes_all(node.cases[-1]):
            line = node.cases[-1].pattern.lineno
            past = _mark(line, meanings, f"{line}->")
            node.cases.append(ast.match_case(ast.copy_location(ast.MatchAs(), past), body=[past]))
    return compile(tree, path, "exec", dont_inherit=True), meanings


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yields a node and all below it, less blocks that are never run."""
    yield node
    for below in ast.iter_child_nodes(node):
        if not _is_left_out(below):
            yield from _nodes(below)


def _is_left_out(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in _NEVER_RUN


def _with_marks(block: list[ast.stmt], meanings: list[str]) -> Iterator[ast.stmt]:
    for statement in block:
        if not (_is_no_code(statement) or _is_left_out(statement)):
            yield _mark(statement.lineno, meanings, str(statement.lineno))
        yield statement


def _is_no_code(statement: ast.stmt) -> bool:
    """Returns whether nothing is done at the statement's place: docstrings, `...`, and words to the compiler."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Global | ast.Nonlocal) or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")


def _takes_all(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None


def _mark(line: int, meanings: list[str], meaning: str) -> ast.stmt:
    meanings.append(meaning)
    place = ast.Subscript(ast.Name(RAN, ast.Load()), ast.Constant(len(meanings) - 1), ast.Store())
    mark = ast.Assign([place], ast.Constant(True), lineno=line, col_offset=0, end_lineno=line, end_col_offset=0)
    return ast.fix_missing_locations(mark)
