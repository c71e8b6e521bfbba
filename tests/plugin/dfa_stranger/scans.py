"""A source: scanned faces, cropped already, each called after the person it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dfa_instruct.sources import SourceItem, TechniqueReport


@dataclass(frozen=True)
class ScanSettings:
    """Where the scans are, and how their names end."""

    root: Path
    ending: str = ".png"


class ScanSource:
    """Files called `anna-1.png`."""

    Settings = ScanSettings
    name = "scans"

    def __init__(self, settings: ScanSettings) -> None:
        self.settings = settings
        self.report: dict[str, TechniqueReport] = {}

    def items(self) -> Iterator[SourceItem]:
        report = self.report.setdefault("bona_fide", TechniqueReport())
        for path in sorted(self.settings.root.glob(f"*{self.settings.ending}")):
            report.use()
            person = f"scans/{path.stem.partition('-')[0]}"
            yield SourceItem(path, self.name, path.name, "bona_fide", None, (person,), cropped=True)
