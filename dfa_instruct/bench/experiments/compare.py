"""Two benches of the same faces against each other: paired intervals, McNemar's test, the faces where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.bench.metrics import Prediction
from dfa_instruct.bench.scores import Weights, interval, people_of
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.vocabulary import CATEGORIES, BenchTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRUTH: Final = {BenchTask.DF_D: "label", BenchTask.DF_C: "category", BenchTask.DF_T: "technique"}
"""Task with one right answer → the column in which it stands."""
SHOWN: Final = 8
"""Faces of each kind of difference on the sheet."""

Pair = tuple[Prediction, Prediction]


@dataclass(frozen=True)
class Difference:
    """One figure of A and of B on the same faces, in percent; `low` and `high` are the 95 % interval of B - A.

    `only_a` and `only_b` count the faces of which one alone is right, `p` is McNemar's exact probability that chance
    deals them out so unevenly; a figure that is not a share of right answers has none of the three.
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


def paired(a: Sequence[Prediction], b: Sequence[Prediction]) -> dict[BenchTask, list[Pair]]:
    """Bring the predictions of the same task and face together, where both models were asked the same.

    A vision-only model is asked nothing, and so is compared with whatever the other one was asked.

    Raises:
        ValueError: they have no row in common.
    """
    of_b = {(p["task"], p["face_id"]): p for p in b}
    found = [(p, of_b[p["task"], p["face_id"]]) for p in a if (p["task"], p["face_id"]) in of_b]
    same = [(p, q) for p, q in found if p["question"] == q["question"] or not (p["question"] and q["question"])]
    if not same:
        raise ValueError("the two have no question about the same face in common: were they asked about one dataset?")
    return {task: of_task for task in BenchTask if (of_task := [pair for pair in same if pair[0]["task"] == task])}


def right(task: BenchTask, predictions: Sequence[Prediction]) -> NDArray[np.bool_]:
    """Tell of each prediction whether it is right."""
    return np.array([p["predicted"] == p[TRUTH[task]] for p in predictions], bool)


def differences(pairs: Mapping[BenchTask, Sequence[Pair]]) -> list[Difference]:
    """Compare every figure that both have; intervals are by the bootstrap over people, each drawn in both at once."""
    found: list[Difference] = []
    for task, of_task in pairs.items():
        first, second = [p for p, _ in of_task], [q for _, q in of_task]
        people = people_of(first)
        if task == BenchTask.AD:
            scores = [np.array([p["rouge_l"] for p in side], float) for side in (first, second)]
            found.append(_compared("AD ROUGE-L", scores, people, _mean))
            continue
        hits = [right(task, side).astype(float) for side in (first, second)]
        found.append(_compared(f"{task.abbreviation} ACC", [100 * h for h in hits], people, _mean, hits))
        if task == BenchTask.DF_D:
            forged = np.array([p["label"] == "forged" for p in first])
            if forged.any() and not forged.all():
                acer = _acer(forged)
                found.append(_compared("DF-D ACER", [100 * (1 - h) for h in hits], people, acer))
    return found


Statistic = Callable[[NDArray[np.float64], Weights], float]
"""Makes a figure of a value a face and of the faces' weights."""


def _mean(values: NDArray[np.float64], weights: Weights) -> float:
    return float(np.average(values, weights=weights)) if weights.sum() else float("nan")


def _acer(forged: NDArray[np.bool_]) -> Statistic:
    return lambda wrong, w: (_mean(wrong[forged], w[forged]) + _mean(wrong[~forged], w[~forged])) / 2


def _compared(
    name: str,
    values: Sequence[NDArray[np.float64]],
    people: NDArray[np.str_],
    figure: Statistic,
    hits: Sequence[NDArray[np.float64]] | None = None,
) -> Difference:
    a, b = values
    even = np.ones(len(a))
    low, high = interval(lambda w: figure(b, w) - figure(a, w), people)
    counted = mcnemar(hits[0] > 0, hits[1] > 0) if hits else (None, None, None)
    return Difference(name, len(a), figure(a, even), figure(b, even), low, high, *counted)


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Count where one alone is right, and return McNemar's exact two-sided probability."""
    from scipy.stats import binomtest

    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    return only_a, only_b, float(binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def comparison_table(found: Sequence[Difference]) -> str:
    """Lay differences out as a Markdown table."""
    lines = [
        "| | faces | A | B | B - A | 95 % interval | A alone right | B alone right | McNemar's p |",
        "| --- |" + " ---: |" * 8,
    ]
    for d in found:
        tested = ["", "", ""] if d.p is None else [str(d.only_a), str(d.only_b), f"{d.p:.2g}"]
        spread = f"{d.low:+.2f} to {d.high:+.2f}"
        cells = [d.figure, str(d.faces), f"{d.a:.2f}", f"{d.b:.2f}", f"{d.b - d.a:+.2f}", spread, *tested]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def where_they_differ(pairs: Mapping[BenchTask, Sequence[Pair]]) -> dict[str, list[Pair]]:
    """Return the pairs of which one alone is right, by what is to be said of them."""
    found: dict[str, list[Pair]] = {}
    for task, of_task in pairs.items():
        if task in TRUTH:
            a, b = (right(task, [pair[side] for pair in of_task]) for side in (0, 1))
            for who, alone in (("A", a & ~b), ("B", ~a & b)):
                if alone.any():
                    of_kind = [pair for pair, one in zip(of_task, alone, strict=True) if one]
                    found[f"{task.abbreviation}: {who} alone is right ({len(of_kind)} faces)"] = of_kind
    return found


def sheet(found: Mapping[str, Sequence[Pair]], pictures: Mapping[str, bytes]) -> Figure:
    """Draw the first faces of each kind of difference, with the truth and what both called it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.9 * SHOWN, 2.9 * len(found)), layout="constrained")
    parts = np.atleast_1d(np.asarray(figure.subfigures(len(found), 1)))
    for part, (heading, pairs) in zip(parts, found.items(), strict=True):
        part.suptitle(heading, fontsize=12, x=0.01, ha="left")
        for axes, pair in zip(part.subplots(1, SHOWN), [*pairs, *[None] * SHOWN], strict=False):
            axes.set_axis_off()
            if pair is None:
                continue
            p, q = pair
            axes.imshow(read_image(pictures[p["face_id"]], smallest=1))
            truth = p[TRUTH[BenchTask(p["task"])]]
            axes.set_title(
                f"truth: {_named(truth)}\nA: {_named(p['predicted'])}\nB: {_named(q['predicted'])}", fontsize=8
            )
    return figure


def _named(answer: str | None) -> str:
    """Return a label, a category or a technique as it is said."""
    return "unreadable" if answer is None else {**CATEGORIES}.get(answer, answer)  # type: ignore[call-overload]
