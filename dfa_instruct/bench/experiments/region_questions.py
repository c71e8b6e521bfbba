"""Ask about every region of a face whether it shows an artifact, and compare the answers with the evidence."""

from __future__ import annotations

from math import nan
from typing import Final

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.metrics import Figures, percent, rounded
from dfa_instruct.bench.results import Rows
from dfa_instruct.bench.tasks.parsing import parse_yes_no
from dfa_instruct.vocabulary import REGIONS

QUESTION: Final = "Is there an artifact in the {region}?"
MAX_NEW_TOKENS: Final = 24
ALL: Final = "all"
IMAGE_BLIND: Final = "all, image blind"


def check_findings(rows: Rows) -> None:
    """Check that the findings of all faces are known.

    Raises:
        ValueError: A face has none, not even an empty list.
    """
    for row in rows:
        if row["findings"] is None:
            raise ValueError(f"--regions: the column findings of test face {row['face_id']} is empty; expected a list")


def region_questions(model: BenchModel, rows: Rows) -> dict[str, Figures]:
    """Ask about every region of the image of every row.

    Returns:
        Region → its figures in percent; the key `ALL` has the figures of all regions together. `acc` is the accuracy;
        `majority` is the accuracy of always giving the more frequent true answer; `balanced_acc` is the balanced
        accuracy, or None if the region has an artifact in all faces or in none; `invalid` is the share of answers that
        cannot be read. Such answers count as wrong.
    """
    asked = [(row, region) for row in rows for region in REGIONS]
    questions = [[QUESTION.format(region=region)] for _, region in asked]
    answers = model.converse([row["image"] for row, _ in asked], questions, MAX_NEW_TOKENS)
    decided: dict[str, list[tuple[bool, bool | None]]] = {region: [] for region in REGIONS}
    for (row, region), (answer,) in zip(asked, answers, strict=True):
        said = parse_yes_no(answer, cut=True)
        truth = any(finding["region"] == region for finding in row["findings"])
        decided[region].append((truth, None if said is None else said == "forged"))
    everything = [pair for pairs in decided.values() for pair in pairs]
    return {name: _figures(pairs) for name, pairs in (*decided.items(), (ALL, everything))}


def _figures(pairs: list[tuple[bool, bool | None]]) -> Figures:
    of_label = {label: [said == truth for truth, said in pairs if truth == label] for label in (True, False)}
    named = percent([truth for truth, _ in pairs])
    recalls = [percent(right) for right in of_label.values() if right]
    return rounded(
        {
            "acc": percent([said == truth for truth, said in pairs]),
            "majority": max(named, 100 - named),
            "balanced_acc": sum(recalls) / 2 if len(recalls) == 2 else nan,
            "invalid": percent([said is None for _, said in pairs]),
        }
    )
