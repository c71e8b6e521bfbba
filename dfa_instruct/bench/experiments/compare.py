"""Comparing two models on the same faces: paired intervals, McNemar's test, and the faces on which they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.bench.metrics import Prediction, by_task
from dfa_instruct.bench.report.markdown_table import Cell, markdown_table
from dfa_instruct.bench.scores import (
    Bools,
    Floats,
    bootstrap_interval,
    has_both,
    identities_of,
    weighted_acer,
    weighted_mean,
)
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.vocabulary import CATEGORIES, BenchTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN: Final = 8
"""The number of faces that are drawn of each kind of difference."""

Pair = tuple[Prediction, Prediction]


@dataclass(frozen=True)
class Difference:
    """One figure of models A and B on the same faces, in percent.

    `low` and `high` are the 95 % interval of B - A. `only_a` and `only_b` are the numbers of faces about which only one
    model is right, and `p` is the p-value of McNemar's exact test; they are None for figures other than accuracies.
    """

    figure: str
    faces: int
    a: float
    b: float
    low: float
    high: float
    only_a: int | None = None
    only_b: int | None = None
    p: float | None = None


def pair_predictions(a: Sequence[Prediction], b: Sequence[Prediction]) -> dict[BenchTask, list[Pair]]:
    """Pair two models' predictions by task and face, as far as both were asked the same question.

    The predictions of a vision-only model have no question, and are paired with those of any question.

    Raises:
        ValueError: The two have no question in common.
    """
    known = {(p["task"], p["face_id"]): p for p in b}
    pairs: dict[BenchTask, list[Pair]] = {}
    for task, group in by_task(a).items():
        both = [(p, known[task, p["face_id"]]) for p in group if (task, p["face_id"]) in known]
        same = [(p, q) for p, q in both if p["question"] == q["question"] or not (p["question"] and q["question"])]
        if same:
            pairs[task] = same
    if not pairs:
        raise ValueError("both have no question about the same face in common; were they measured on the same dataset?")
    return pairs


def is_right(task: BenchTask, predictions: Sequence[Prediction]) -> Bools:
    """Return whether each prediction is right, shape (predictions,)."""
    return np.array([p["predicted"] == p[TASKS[task].truth] for p in predictions], bool)


def differences(pairs: Mapping[BenchTask, Sequence[Pair]]) -> list[Difference]:
    """Compare every figure that both models have, with intervals from a bootstrap over identities."""
    found: list[Difference] = []
    for task, of_task in pairs.items():
        sides = [p for p, _ in of_task], [q for _, q in of_task]
        compare = partial(_difference, identities_of(sides[0]))
        if task == BenchTask.AD:
            rouge_l = [np.array([p["rouge_l"] for p in side], float) for side in sides]
            found.append(compare("AD ROUGE-L", rouge_l, weighted_mean))
            continue
        right = [is_right(task, side) for side in sides]
        only_a, only_b, p = mcnemar(*right)
        accuracy = compare(f"{task.abbreviation} ACC", [r.astype(np.float64) * 100 for r in right], weighted_mean)
        found.append(replace(accuracy, only_a=only_a, only_b=only_b, p=p))
        forged = np.array([p["label"] == "forged" for p in sides[0]])
        if task == BenchTask.DF_D and has_both(forged):
            found.append(
                compare("DF-D ACER", [(~r).astype(np.float64) * 100 for r in right], partial(weighted_acer, forged))
            )
    return found


def _difference(
    identities: NDArray[Any], figure: str, values: Sequence[Floats], statistic: Callable[[Floats, Floats], float]
) -> Difference:
    """Compare a statistic of A's and B's values, which also takes the weights of the faces."""
    a, b = values
    low, high = bootstrap_interval(lambda w: statistic(b, w) - statistic(a, w), identities)
    even = np.ones(len(a))
    return Difference(figure, len(a), statistic(a, even), statistic(b, even), low, high)


def mcnemar(a: Bools, b: Bools) -> tuple[int, int, float]:
    """Test whether two models differ in accuracy.

    Args:
        a: Whether A is right, shape (faces,).
        b: Whether B is right, shape (faces,).

    Returns:
        The numbers of faces about which only A and only B is right, and the p-value of McNemar's exact two-sided test.
    """
    from scipy.stats import binomtest

    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    return only_a, only_b, float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def comparison_table(found: Sequence[Difference]) -> str:
    """Write differences as a Markdown table."""
    headings = ["", "faces", "A", "B", "B - A", "95 % interval", "A alone right", "B alone right", "McNemar's p"]
    rows: list[list[Cell]] = []
    for d in found:
        tested = ["", "", ""] if d.p is None else [str(d.only_a), str(d.only_b), f"{d.p:.2g}"]
        spread = f"{d.low:+.2f} to {d.high:+.2f}"
        rows.append([d.figure, str(d.faces), d.a, d.b, f"{d.b - d.a:+.2f}", spread, *tested])
    return markdown_table(headings, rows)


def disagreements(pairs: Mapping[BenchTask, Sequence[Pair]]) -> dict[str, list[Pair]]:
    """Return the pairs of which only one prediction is right, by a heading for each task and model."""
    found: dict[str, list[Pair]] = {}
    for task, of_task in pairs.items():
        if task == BenchTask.AD:
            continue
        a, b = (is_right(task, [pair[side] for pair in of_task]) for side in (0, 1))
        for model, alone in (("A", a & ~b), ("B", ~a & b)):
            if alone.any():
                chosen = [pair for pair, one in zip(of_task, alone, strict=True) if one]
                found[f"{task.abbreviation}: {model} alone is right ({len(chosen)} faces)"] = chosen
    return found


def draw_disagreements(found: Mapping[str, Sequence[Pair]], pictures: Mapping[str, bytes]) -> Figure:
    """Draw the first faces of each kind of disagreement, with the truth and both predictions.

    Args:
        found: Heading → pairs.
        pictures: `face_id` → encoded image.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.9 * SHOWN, 2.9 * len(found)), layout="constrained")
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(found), 1)))
    for part, (heading, pairs) in zip(parts, found.items(), strict=True):
        part.suptitle(heading, fontsize=12, x=0.01, ha="left")
        grid = part.subplots(1, SHOWN)
        for axes in grid:
            axes.set_axis_off()
        for axes, (p, q) in zip(grid, pairs, strict=False):
            axes.imshow(read_image(pictures[p["face_id"]], smallest=1))
            truth, a, b = (_in_words(value) for value in (p[TASKS[p["task"]].truth], p["predicted"], q["predicted"]))
            axes.set_title(f"truth: {truth}\nA: {a}\nB: {b}", fontsize=8)
    return figure


def _in_words(answer: str | None) -> str:
    """Return a label, a category or a technique in words."""
    return "unreadable" if answer is None else {**CATEGORIES}.get(answer, answer)  # type: ignore[call-overload]
