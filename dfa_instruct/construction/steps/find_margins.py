"""The second step: find how much of the surroundings of a face the pictures of each source show."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from math import floor
from typing import Any

import pyarrow.parquet as pq

from dfa_instruct.construction.detector import close_detector, detector
from dfa_instruct.construction.work_folder import BONA_FIDE, SourceMargin, Step, one_thread, seeded_hash
from dfa_instruct.face.alignment import margin_inside
from dfa_instruct.face.detection import largest
from dfa_instruct.schema import from_columns
from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.decoding import read_items
from dfa_instruct.sources.pictures import BadPictureError
from dfa_instruct.sources.sample import is_drawn

SAMPLE = 48
"""Number of pictures of a source that are examined."""
OUTSIDE = 0.05
"""Share of the examined pictures beyond whose border the square may extend."""
WHOLE_FACE = -0.1
"""The smallest margin. A smaller one would cut off the chin. What lies outside the picture is grey instead."""


class FindMargins(Step):
    """Find for each source the margin at which the aligned squares lie inside its pictures, from a sample. One task.

    All sources that hold only bona fide or only forged pictures get the same margin, the smallest of theirs. Otherwise
    the crop alone would tell a model the label.
    """

    folder = "margins"
    recipe_keys = ("detect_cropped", "margin", "seed")
    depends_on = ("construction/detector.py", "construction/steps/find_margins.py")

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write the report: source → `SourceMargin`."""
        sampled, labels = self.sample()
        allowed = {source: self.largest_margins(items) for source, items in sorted(sampled.items())}
        margins = {source: self.margin(found) for source, found in allowed.items()}
        one_sided = [source for source in margins if len(labels[source]) == 1 and allowed[source]]
        margins |= dict.fromkeys(one_sided, min((margins[source] for source in one_sided), default=0.0))
        report = {
            source: SourceMargin(margin, sum(m >= margin for m in allowed[source]), len(allowed[source]))
            for source, margin in margins.items()
        }
        self.work.write_report("margins", report)

    def close(self) -> None:
        """Close the detector."""
        close_detector()

    def sample(self) -> tuple[Mapping[str, list[SourceItem]], Mapping[str, set[bool]]]:
        """Sample pictures of each source of real pictures.

        Returns:
            Source → at most `SAMPLE` items, and source → whether its pictures are bona fide (True), forged (False) or
            both.
        """
        sampled: dict[str, list[SourceItem]] = defaultdict(list)
        labels: dict[str, set[bool]] = defaultdict(set)
        for path in self.work.shards("list"):
            by_source: dict[str, list[SourceItem]] = defaultdict(list)
            for columns in pq.read_table(path).to_pylist():
                item = from_columns(SourceItem, columns)
                if not is_drawn(item):
                    by_source[item.source].append(item)
                    labels[item.source].add(item.category == BONA_FIDE)
            for source, items in by_source.items():
                both = chain(sampled[source], items)
                sampled[source] = heapq.nsmallest(
                    SAMPLE, both, key=lambda item: seeded_hash(self.recipe.seed, item.key)
                )
        return sampled, labels

    def largest_margins(self, items: list[SourceItem]) -> list[float]:
        """Return the largest margin that each picture with a face allows, in ascending order."""
        found = []
        with one_thread():
            for item, pixels in read_items(sorted(items, key=lambda item: (item.path, item.frame or 0))):
                if isinstance(pixels, BadPictureError) or (item.cropped and not self.recipe.detect_cropped):
                    continue
                if faces := detector().detect(pixels):
                    found.append(margin_inside(pixels.shape[0], pixels.shape[1], largest(faces)))
        return sorted(found)

    def margin(self, allowed: list[float]) -> float:
        """Return the largest margin that all pictures but a share of `OUTSIDE` allow, at most the recipe's."""
        if not allowed:
            return self.recipe.margin
        most = floor(100 * allowed[int(OUTSIDE * len(allowed))]) / 100
        return min(max(most, WHOLE_FACE), self.recipe.margin)
