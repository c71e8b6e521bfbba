"""What a build ends with: the table of what became of each technique, and the list of what was dropped."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

from rich.console import Console
from rich.table import Table

from dfa_instruct.construction.work_folder import BONA_FIDE, REASONS, WorkFolder
from dfa_instruct.dataset.statistics import Statistics

PAIRING_NOTES = {
    "content": "were paired by content with a frame near their own: nothing is said of their geometry",
    "refused": "differ all over from the frame of their number: this pair was refused, and they have none",
}
NOTES = 20
"""So many notes of a source are printed of each technique."""


@contextmanager
def dropped_named(work: WorkFolder) -> Iterator[None]:
    """Name what was dropped where a step fails, too."""
    try:
        yield
    except Exception:
        if any(work.all_dropped()):
            write_dropped(work)
        raise


def write_dropped(work: WorkFolder) -> dict[str, Counter[str]]:
    """Write what was dropped, if anything, as CSV; count it by technique and reason."""
    dropped: dict[str, Counter[str]] = defaultdict(Counter)
    path = work.dropped_table
    path.unlink(missing_ok=True)
    rows = work.all_dropped()
    if (first := next(rows, None)) is None:
        return dropped
    partial = work.root / "dropped.csv"
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        for row in chain([first], rows):
            writer.writerow(row)
            dropped[row["technique"]][row["reason"]] += 1
    partial.replace(path)
    return dropped


def print_table(
    listed: Mapping[str, Mapping[str, Any]],
    statistics: Statistics,
    dropped: Mapping[str, Counter[str]],
    planned: Mapping[str, Any],
    margins: Mapping[str, Any],
) -> None:
    """Print what was found of each technique, resolved, paired, written, and dropped and why; then the notes.

    Args:
        listed: the techniques of the first step's report.
        statistics: of what was written.
        dropped: how many of each technique, by reason.
        planned: the report of the plan.
        margins: the report of the margins.
    """
    table = Table(title="What was built")
    for column in ("technique", "files", "resolved", "paired", "images", "dropped, and why"):
        table.add_column(column, justify="left" if column in ("technique", "dropped, and why") else "right")
    written = Counter({BONA_FIDE: statistics.images_of(category=BONA_FIDE)})
    for (_, technique), n in statistics.techniques.items():
        written[technique] += n
    files: dict[str, Counter[str]] = defaultdict(Counter)
    for name, found in listed.items():
        files[name.partition("/")[2]].update({key: found[key] for key in ("found", "resolved", "paired")})
    for technique in sorted({*written, *files, *dropped}, key=lambda t: (t != BONA_FIDE, t == "", t)):
        counts = [str(files[technique][key]) if technique in files else "" for key in ("found", "resolved", "paired")]
        reasons = dropped.get(technique, Counter()).most_common()
        said = [f"{n}: {reason}" for reason, n in reasons[:REASONS]]
        if others := sum(n for _, n in reasons[REASONS:]):
            said.append(f"{others}: other reasons")
        table.add_row(technique or "any", *counts, str(written[technique]), "\n".join(said))
    table.add_row("all", "", "", "", str(statistics.images_of()), planned["cost"], end_section=True)
    console = Console(stderr=True)
    console.print(table)
    shares = ", ".join(f"{split} {len(names)}" for split, names in sorted(statistics.identities.items()))
    twins = planned["near_duplicates_inside"]
    console.print(f"Identities: {shares}. Near-duplicates inside of splits, kept: {twins}.")
    for source, found in margins.items():
        if found["sampled"]:
            told = f"{found['inside']} of {found['sampled']} pictures looked at hold the whole square"
            console.print(f"{source}: cut with a margin of {found['margin']:g}, bona fide and forged; {told}.")
    for what in planned["lacking"]:
        console.print(f"warning: {what}", markup=False, highlight=False)
    for (technique, pairing), n in sorted(statistics.pairings.items()):
        if pairing != "same_frame":
            console.print(f"{technique}: {n} {PAIRING_NOTES[pairing]}", markup=False, highlight=False)
    for name, found in listed.items():
        for note in found["notes"][:NOTES]:
            console.print(f"{name}: {note}", markup=False, highlight=False)
        if (more := len(found["notes"]) - NOTES) > 0:
            console.print(f"{name}: and {more} more", markup=False, highlight=False)
