"""Readers for tests: one holds a stream back by some pieces, one cuts an answer in the middle, one never lets anything go."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from deployments.gateway.pipeline import Pipeline
from deployments.gateway.readers.reader import Gate, MakeReader, Piece, Reader

HELD_PIECES = 32


class Log:
    """What became of the readers of a test."""

    def __init__(self) -> None:
        self.made = self.ended = self.closed = self.read = 0
        self.texts: dict[int, str] = {}
        self.gates: list[Gate] = []

    def wrote(self, piece: Piece) -> None:
        self.read += 1
        for choice, text in piece.texts().items():
            self.texts[choice] = self.texts.get(choice, "") + text


class Follows:
    """Reads, and lets nothing go."""

    def __init__(self, gate: Gate, log: Log) -> None:
        self.gate = gate
        self.log = log
        self.pieces = 0
        log.made += 1
        log.gates.append(gate)

    def read(self, piece: Piece) -> None:
        self.pieces += 1
        self.log.wrote(piece)

    def end(self) -> None:
        self.log.ended += 1

    def close(self) -> None:
        self.log.closed += 1


class HoldsBack(Follows):
    """Lets each piece go when 32 more have come, and all of them at the end."""

    def read(self, piece: Piece) -> None:
        super().read(piece)
        self.gate.clear(self.pieces - HELD_PIECES)

    def end(self) -> None:
        super().end()
        self.gate.clear(self.pieces)


class Cuts(Follows):
    """Lets go what has no more characters than that in every choice, and cuts behind it."""

    most = 12

    def read(self, piece: Piece) -> None:
        super().read(piece)
        if max(map(len, self.log.texts.values()), default=0) > self.most:
            self.gate.cut("content_filter", kept=self.most)
        else:
            self.gate.clear(self.pieces)

    def end(self) -> None:
        super().end()
        self.gate.clear(self.pieces)


def read_by(pipeline: Pipeline, *kinds: Callable[[Gate, Log], Reader]) -> Log:
    """From now on, every answer is read by readers of these kinds."""
    log = Log()

    def maker(kind: Callable[[Gate, Log], Reader]) -> MakeReader:
        return lambda gate: kind(gate, log)

    makers = [maker(kind) for kind in kinds]
    pipeline.apply(replace(pipeline.rules, readers=lambda _asked: makers))
    return log


def finishes(choices: list[dict[str, Any]]) -> dict[int, str]:
    """The reason for its end of each choice that tells one."""
    return {choice["index"]: choice["finish_reason"] for choice in choices if choice["finish_reason"]}
