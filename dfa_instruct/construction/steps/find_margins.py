"""The second step: how much around a face the pictures of each source show."""

from __future__ import annotations

import heapq
import json
from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from math import floor
from typing import Any

import pyarrow.parquet as pq

from dfa_instruct.construction.detector import close_detector, detector
from dfa_instruct.construction.work_folder import BONA_FIDE, Step, digest, one_thread, whole
from dfa_instruct.face.detection import largest, margin_inside
from dfa_instruct.schema import from_columns
from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.decoding import read_items
from dfa_instruct.sources.pictures import BadPictureError
from dfa_instruct.sources.sample import is_drawn

SAMPLE = 48
"""Pictures of a source that are looked at, drawn by the seed."""
OUTSIDE = 0.05
"""The part of them whose squares may reach beyond the picture."""
WHOLE_FACE = -0.1
"""With a smaller margin the chin would be cut off; what a picture lacks then is grey."""


class FindMargins(Step):
    """Look at some pictures of each source for the margin at which their aligned squares lie inside of them. One task.

    A source that holds bona fide pictures only, or forged ones only, gets the smallest margin of all such sources: else
    the cut alone would tell a model which is which.
    """

    folder = "margins"

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """Write `report.json`: of each source its margin, and how many pictures of the sample hold their squares."""
        sampled, labels = self.sample()
        allowed = {source: self.allowed(items) for source, items in sorted(sampled.items())}
        margins = {source: self.margin(found) for source, found in allowed.items()}
        one_sided = [source for source in margins if len(labels[source]) == 1 and allowed[source]]
        margins |= dict.fromkeys(one_sided, min((margins[source] for source in one_sided), default=0.0))
        said = {
            source: {
                "margin": margin,
                "inside": sum(m >= margin for m in allowed[source]),
                "sampled": len(allowed[source]),
            }
            for source, margin in margins.items()
        }
        with whole(self.work.file("margins", "report.json")) as path:
            path.write_text(json.dumps(said), encoding="utf-8")

    def close(self) -> None:
        """Close the detector."""
        close_detector()

    def sample(self) -> tuple[Mapping[str, list[SourceItem]], Mapping[str, set[bool]]]:
        """Draw `SAMPLE` pictures of each source that is not drawn; and say which labels a source has."""
        sampled: dict[str, list[SourceItem]] = defaultdict(list)
        labels: dict[str, set[bool]] = defaultdict(set)
        for path in self.work.shards("list"):
            of_shard: dict[str, list[SourceItem]] = defaultdict(list)
            for columns in pq.read_table(path).to_pylist():
                item = from_columns(SourceItem, columns)
                if not is_drawn(item):
                    of_shard[item.source].append(item)
                    labels[item.source].add(item.category == BONA_FIDE)
            for source, items in of_shard.items():
                both = chain(sampled[source], items)
                sampled[source] = heapq.nsmallest(SAMPLE, both, key=lambda item: digest(self.recipe.seed, item.key))
        return sampled, labels

    def allowed(self, items: list[SourceItem]) -> list[float]:
        """Find of each picture that shows a face the largest margin that it allows, in ascending order."""
        found = []
        with one_thread():
            for item, pixels in read_items(sorted(items, key=lambda item: (item.path, item.frame or 0))):
                if isinstance(pixels, BadPictureError) or (item.cropped and not self.recipe.detect_cropped):
                    continue
                if faces := detector().detect(pixels):
                    found.append(margin_inside(pixels.shape[0], pixels.shape[1], largest(faces)))
        return sorted(found)

    def margin(self, allowed: list[float]) -> float:
        """Choose the largest margin that all but `OUTSIDE` of the pictures allow, within the recipe's bounds."""
        if not allowed:
            return self.recipe.margin
        most = floor(100 * allowed[int(OUTSIDE * len(allowed))]) / 100
        return min(max(most, WHOLE_FACE), self.recipe.margin)
