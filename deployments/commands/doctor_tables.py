"""The report on an examined cluster, as tables for `rich` and as JSON. Decides nothing."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from rich.table import Table
from rich.text import Text

from cluster.doctor.facts import Finding, Level
from cluster.doctor.pairs import PairResult
from cluster.doctor.report import Examined, Report

COLOURS = {Level.OK: "green", Level.NOT_CHECKED: "dim", Level.WARN: "yellow", Level.FAIL: "red"}
#: Rows of the pairs' table, the worst first.
MOST_PAIRS = 24


def node_table(node: Examined) -> Table:
    """Returns a table of all findings of one node."""
    member = node.member
    host = f" · {node.facts.host}" if node.facts and node.facts.host != member.name else ""
    title = Text(f"{member.name}{host}{' · head' if member.head else ''} · ").append(*_level(node.level))
    return _findings(title, node.findings)


def findings_table(title: str, findings: Iterable[Finding]) -> Table:
    """Returns a table of findings that concern no single node."""
    return _findings(Text(title), findings)


def _findings(title: Text, findings: Iterable[Finding]) -> Table:
    table = Table("check", "", "seen", "what to do", title=title, title_justify="left", title_style="bold")
    for one in findings:
        table.add_row(one.check, Text(*_level(one.level)), Text(one.seen), Text(one.advice))
    return table


def _level(level: Level) -> tuple[str, str]:
    return level.value, COLOURS[level]


def pairs_table(pairs: Iterable[PairResult]) -> Table:
    """Returns a table of the all-reduces: those that failed first, then the slowest."""
    table = Table("all-reduce between", "and", "by", "GB/s", title="Pairs", title_justify="left", title_style="bold")
    for pair in sorted(pairs, key=lambda one: one.gbyte_s if one.gbyte_s is not None else -1.0)[:MOST_PAIRS]:
        rate = Text(pair.error or "failed", "red") if pair.gbyte_s is None else Text(f"{pair.gbyte_s:.2f}")
        table.add_row(*pair.nodes, pair.backend, rate)
    return table


def as_json(report: Report, drained: Iterable[str] = ()) -> dict[str, Any]:
    """Returns the report for scripts."""
    return {
        "sick": report.sick,
        "findings": [dataclasses.asdict(one) for one in report.findings],
        "nodes": [_node(node) for node in report.nodes],
        "pairs": [dataclasses.asdict(pair) for pair in report.pairs],
        "drained": list(drained),
    }


def _node(node: Examined) -> dict[str, Any]:
    return {
        **{name: getattr(node.member, name) for name in ("name", "id", "address", "head", "draining")},
        "labels": dict(node.member.labels),
        "level": node.level,
        "findings": [dataclasses.asdict(one) for one in node.findings],
        "facts": None if node.facts is None else dataclasses.asdict(node.facts),
    }
