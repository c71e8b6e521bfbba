"""The end of a build: a table of each technique's images, and a list of everything that was dropped."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

from rich.console import Console
from rich.table import Table

from dfa_instruct.construction.work_folder import (
    BONA_FIDE,
    REASONS,
    ListReport,
    PlanReport,
    SourceMargin,
    WorkFolder,
)
from dfa_instruct.dataset.statistics import Statistics

PAIRING_NOTES = {
    "content": "were paired with the most similar frame near their own; their geometry is not described",
    "refused": "differ outside the face from the frame with their number, which is therefore not their pair",
}
NOTES = 20
"""Number of notes that are printed for each technique of a source."""


@contextmanager
def write_dropped_on_failure(work: WorkFolder) -> Iterator[None]:
    """Write the list of what was dropped even if a step fails."""
    try:
        yield
    except Exception:
        if any(work.all_dropped()):
            write_dropped(work)
        raise


def write_dropped(work: WorkFolder) -> dict[str, Counter[str]]:
    """Write everything that was dropped as CSV.

    Returns:
        Technique → reason → number of files.
    """
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
    listed: ListReport,
    margins: Mapping[str, SourceMargin],
    planned: PlanReport,
    statistics: Statistics,
    dropped: Mapping[str, Counter[str]],
) -> None:
    """Print, for each technique, the numbers of files found, used and paired, of images written, and of files dropped.

    The notes and warnings follow the table.

    Args:
        listed: The report of the first step.
        margins: The report of the second step.
        planned: The report of the step that plans the splits.
        statistics: The counts of the rows that were written.
        dropped: Technique → reason → number of files.
    """
    table = Table(title="What was built")
    for column in ("technique", "files", "resolved", "paired", "images", "dropped, and why"):
        table.add_column(column, justify="left" if column in ("technique", "dropped, and why") else "right")
    written = Counter({BONA_FIDE: statistics.images_of(category=BONA_FIDE)})
    for (_, technique), n in statistics.techniques.items():
        written[technique] += n
    files: dict[str, Counter[str]] = defaultdict(Counter)
    for name, found in listed.techniques.items():
        counted = {"found": found.found, "resolved": found.resolved, "paired": found.paired}
        files[name.partition("/")[2]].update(counted)
    for technique in sorted({*written, *files, *dropped}, key=lambda t: (t != BONA_FIDE, t == "", t)):
        counts = [str(files[technique][key]) if technique in files else "" for key in ("found", "resolved", "paired")]
        reasons = dropped.get(technique, Counter()).most_common()
        lines = [f"{n}: {reason}" for reason, n in reasons[:REASONS]]
        if others := sum(n for _, n in reasons[REASONS:]):
            lines.append(f"{others}: other reasons")
        table.add_row(technique or "any", *counts, str(written[technique]), "\n".join(lines))
    table.add_row("all", "", "", "", str(statistics.images_of()), planned.cost, end_section=True)
    console = Console(stderr=True)
    console.print(table)
    shares = ", ".join(f"{split} {len(names)}" for split, names in sorted(statistics.identities.items()))
    console.print(f"Identities: {shares}. Near-duplicates within a split, kept: {planned.near_duplicates_inside}.")
    for source, cut in margins.items():
        if cut.sampled:
            console.print(
                f"{source}: all pictures were cut with a margin of {cut.margin:g}; "
                f"{cut.inside} of {cut.sampled} examined ones contain the whole square."
            )
    for message in planned.lacking:
        console.print(f"warning: {message}", markup=False, highlight=False)
    for (technique, pairing), n in sorted(statistics.pairings.items()):
        if pairing != "same_frame":
            console.print(f"{technique}: {n} {PAIRING_NOTES[pairing]}", markup=False, highlight=False)
    for name, found in listed.techniques.items():
        for note in found.notes[:NOTES]:
            console.print(f"{name}: {note}", markup=False, highlight=False)
        if (more := len(found.notes) - NOTES) > 0:
            console.print(f"{name}: and {more} more", markup=False, highlight=False)
