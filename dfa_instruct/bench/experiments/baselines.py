"""What a score must beat to mean something: constant answers, and the same model without its image or with another's.

An accuracy says little on an unbalanced test split, and ROUGE-L rewards canned text (a sentence that never saw the
image can outscore a trained model), so these stand beside every result.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import PIL.Image
from datasets import load_dataset

from dfa_instruct.bench.metrics import classification, detection, rouge_l
from dfa_instruct.bench.runner import Answering, Rows, evaluate, load_model, load_rows, results_of
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.sources.pictures import open_image
from dfa_instruct.vocabulary import BenchTask

Figures = dict[str, dict[str, float | None]]


def baselines(
    model: str | Path | Answering,
    data: Path | None,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    limit: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> dict[str, Figures]:
    """Measure what stands beside a result; the arguments are those of `run_bench`.

    Returns:
        Each in the form of `run_bench`'s `tasks`: `majority`, the constant answers that suit the train split best;
        `image_blind`, the model with every image replaced by one grey picture; `images_swapped`, the model with the
        images dealt out anew, none in its own place; and `chance`, the accuracy of the swapped run's answers dealt out
        at random.
    """
    rows = load_rows(data, limit)
    loaded = load_model(model, batch_size)
    blind = evaluate(loaded, image_blind(rows), tasks)
    swapped = evaluate(loaded, images_swapped(rows, seed), tasks)
    constants = majority(data, rows)
    return {
        "majority": {task: constants[task] for task in blind["tasks"]},
        "image_blind": blind["tasks"],
        "images_swapped": swapped["tasks"],
        "chance": {
            t: {"acc": level} for t in swapped["tasks"] if (level := swapped["details"][t].get("chance")) is not None
        },
    }


def majority(data: Path | None, rows: Rows) -> Figures:
    """Score the train split's most frequent label, category, technique of those offered, and best description."""
    columns = ["label", "category", "technique", "qa"]
    train = list(
        load_dataset(DATASET_NAME, data_dir=data and str(data), split="train", streaming=True, columns=columns)
    )
    label, category = (Counter(row[column] for row in train).most_common(1)[0][0] for column in ("label", "category"))
    texts = [(row["label"], qa["answer"]) for row in train for qa in row["qa"] if qa["ability"] == "ad"]
    references = [(row["label"], next(q["answer"] for q in row["bench"] if q["ability"] == "ad")) for row in rows]

    def constant(labels: tuple[str, ...]) -> float:
        """Score the description that suits the faces of these labels best."""
        text = _best_constant([text for of, text in texts if of in labels])
        scores = [rouge_l(reference, text) for of, reference in references if of in labels]
        return fmean(scores) if scores else math.nan

    techniques = Counter(row["technique"] for row in train)
    asked = [(row, question) for row in rows for question in row["bench"] if question["ability"] == "df_t"]
    guesses = [max(question["options"], key=lambda option: techniques[option]) for _, question in asked]
    return {
        BenchTask.DF_D: results_of(BenchTask.DF_D, detection([r["label"] for r in rows], [label] * len(rows))),
        BenchTask.DF_C: results_of(
            BenchTask.DF_C, classification([r["category"] for r in rows], [category] * len(rows))
        ),
        BenchTask.DF_T: results_of(BenchTask.DF_T, classification([row["technique"] for row, _ in asked], guesses)),
        BenchTask.AD: results_of(
            BenchTask.AD, {"rouge_l": constant(("bona_fide", "forged")), "rouge_l_forged": constant(("forged",))}
        ),
    }


def _best_constant(texts: Sequence[str], candidates: int = 8, against: int = 64) -> str:
    """Of the most frequent texts, return the one that is most like evenly picked others by ROUGE-L."""
    frequent = [text for text, _ in Counter(texts).most_common(candidates)]
    others = [texts[i] for i in np.linspace(0, len(texts) - 1, min(against, len(texts))).astype(int)]
    return max(frequent, default="", key=lambda text: fmean(rouge_l(other, text) for other in others))


def image_blind(rows: Rows) -> Rows:
    """Replace every image by one grey picture of the first one's size."""
    grey = PIL.Image.new("RGB", open_image(rows[0]["image"]["bytes"], smallest=1).size, (128, 128, 128))
    return [{**row, "image": grey} for row in rows]


def images_swapped(rows: Rows, seed: int = 0) -> Rows:
    """Give every row the image of another one: along one cycle through all rows in a seeded order."""
    order = np.random.default_rng(seed).permutation(len(rows))
    images: dict[int, Any] = {int(i): rows[j]["image"] for i, j in zip(order, np.roll(order, 1), strict=True)}
    return [{**row, "image": images[i]} for i, row in enumerate(rows)]
