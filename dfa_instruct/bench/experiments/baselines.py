"""Baselines that a figure must beat to mean something.

An accuracy says little about an unbalanced test split, and ROUGE-L rewards canned text: a sentence that never saw the
image can score higher than a trained model. So every result is compared with constant answers, and with the same model
without its image or with the image of another face.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np
import PIL.Image

from dfa_instruct.bench.metrics import by_task, classification, description_figures, detection, rouge_l
from dfa_instruct.bench.predictions import read_predictions
from dfa_instruct.bench.results import Rows, TaskFigures, main_figures, task_figures
from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.runner import Answering, ask, load_rows
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.bench.tasks.references import against_people
from dfa_instruct.sources.pictures import open_image
from dfa_instruct.vocabulary import BenchTask

_OF_FORGED: Final = ("_forged", "_people", "_pixels")
"""The endings of AD's figures that are computed from forged faces alone."""


def baselines(
    model: Answering,
    data: Path | None,
    *,
    tasks: Sequence[str] = tuple(TASKS),
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, TaskFigures]:
    """Measure the baselines of a model; the arguments are those of `run_bench`, and a seed for shuffling the images.

    Returns:
        `majority`: The constant answers that fit the training split best.
        `image_blind`: The model with every image replaced by the same grey one.
        `images_swapped`: The model with the images shuffled, so that no row keeps its own.
        `chance`: The accuracy that the answers of `images_swapped` would have if they were shuffled at random.
    """
    rows = load_rows(data, limit)
    blind = task_figures(ask(model, image_blind(rows), tasks))
    swapped = ask(model, images_swapped(rows, seed), tasks)
    chance = {task: TASKS[task].figures(group).get("chance") for task, group in by_task(swapped).items()}
    constants = majority(data, rows)
    return {
        "majority": {task: constants[task] for task in blind},
        "image_blind": blind,
        "images_swapped": task_figures(swapped),
        "chance": {task: {"acc": round(level, 2)} for task, level in chance.items() if level is not None},
    }


def majority(data: Path | None, rows: Rows) -> TaskFigures:
    """Score the most frequent label, category, offered technique, and the best description of the training split."""
    columns = ["label", "category", "technique", "qa"]
    train = list(stream(data, "train", columns))
    label, category = (Counter(row[column] for row in train).most_common(1)[0][0] for column in ("label", "category"))
    texts = [(row["label"], qa["answer"]) for row in train for qa in row["qa"] if qa["ability"] == "ad"]
    references = [next(q["answer"] for q in row["bench"] if q["ability"] == "ad") for row in rows]

    def constant(labels: tuple[str, ...]) -> dict[str, float]:
        """Score, on all test faces, the description that fits the training faces with these labels best."""
        text = _best_constant([text for of, text in texts if of in labels])
        return description_figures(
            [
                {"label": row["label"], "rouge_l": rouge_l(reference, text), **against_people(row, text)}
                for row, reference in zip(rows, references, strict=True)
            ]
        )

    techniques = Counter(row["technique"] for row in train)
    asked = [(row, question) for row in rows for question in row["bench"] if question["ability"] == "df_t"]
    guesses = [max(question["options"], key=lambda option: techniques[option]) for _, question in asked]
    figures = {
        BenchTask.DF_D: detection([row["label"] for row in rows], [label] * len(rows)),
        BenchTask.DF_C: classification([row["category"] for row in rows], [category] * len(rows)),
        BenchTask.DF_T: classification([row["technique"] for row, _ in asked], guesses),
        BenchTask.AD: {
            **constant(("bona_fide", "forged")),
            **{name: n for name, n in constant(("forged",)).items() if name.endswith(_OF_FORGED)},
        },
    }
    return {task: main_figures(task, of_task) for task, of_task in figures.items()}


def plain_detector(output: Path, rows: Rows) -> TaskFigures:
    """Return the figures of a plain detector on test rows.

    Args:
        output: The output folder of `dfa-instruct probe --tune`.
        rows: The test rows.

    Raises:
        FileNotFoundError: The folder holds no results.
        ValueError: The results are not those of a plain detector, or it was not asked about one of the rows.
    """
    predictions = read_predictions(output)
    results = output / "results.json"
    if not results.is_file() or not json.loads(results.read_text(encoding="utf-8")).get("probe", {}).get("tuned"):
        raise ValueError(f"{output}: not a plain detector (expected the output of `dfa-instruct probe --tune`)")
    faces = {row["face_id"] for row in rows}
    if missing := sorted(faces - {p["face_id"] for p in predictions}):
        raise ValueError(f"{output}: no prediction for test face {missing[0]}; it was measured on another dataset")
    return task_figures([p for p in predictions if p["face_id"] in faces])


def _best_constant(texts: Sequence[str], candidates: int = 8, against: int = 64) -> str:
    """Return the one of the most frequent texts that has the highest mean ROUGE-L to an even sample of all texts."""
    frequent = [text for text, _ in Counter(texts).most_common(candidates)]
    others = [texts[i] for i in np.linspace(0, len(texts) - 1, min(against, len(texts))).astype(int)]
    return max(frequent, default="", key=lambda text: fmean(rouge_l(other, text) for other in others))


def image_blind(rows: Rows) -> Rows:
    """Replace every image by the same grey one, of the first image's size."""
    grey = PIL.Image.new("RGB", open_image(rows[0]["image"]["bytes"], smallest=1).size, (128, 128, 128))
    return [{**row, "image": grey} for row in rows]


def images_swapped(rows: Rows, seed: int = 0) -> Rows:
    """Give every row the image of another row.

    In a random order of the rows, each takes the image of the one before it, and the first that of the last.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    images: dict[int, Any] = {int(i): rows[j]["image"] for i, j in zip(order, np.roll(order, 1), strict=True)}
    return [{**row, "image": images[i]} for i, row in enumerate(rows)]
