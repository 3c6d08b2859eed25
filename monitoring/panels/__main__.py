"""Writes every dashboard into `monitoring/dashboards`, one file each; removes files of dashboards that are gone."""

from pathlib import Path

from monitoring.panels.every import DASHBOARDS
from monitoring.panels.grafana import text

FOLDER = Path(__file__).parents[1] / "dashboards"


def main(folder: Path = FOLDER) -> None:
    """Writes the files into a folder."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.json"):
        old.unlink()
    for board in DASHBOARDS:
        (folder / f"{board.uid}.json").write_text(text(board), encoding="utf-8")


if __name__ == "__main__":  # pragma: no cover
    main()
