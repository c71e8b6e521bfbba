"""Habits of a model's answers that do not depend on the face, and that good figures may hide.

A model that always says yes, refuses, answers in another language, or describes every face alike can still reach
figures that look like skill.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Final

from dfa_instruct.annotate.answer_parsing import is_foreign, is_refusal
from dfa_instruct.annotate.claims import parse_claims
from dfa_instruct.bench.metrics import Figures, Prediction, by_task, percent
from dfa_instruct.bench.tasks.parsing import described_label, label_of
from dfa_instruct.vlm.chat import REFUSED
from dfa_instruct.vocabulary import BenchTask, Label

NOTABLE: Final = 5.0
"""The percentage of answers from which a habit causes a warning."""
CANNED: Final = 50.0
"""The percentage of descriptions shared with another face from which they cause a warning."""
_WORD: Final = re.compile(r"[^\W\d_]+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def habit_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Describe how all questions were answered, in percent.

    Returns:
        `refused`: Answers that are refusals.
        `foreign`: Answers that are not in English.
        `<task>_commonest`: For each task, answers that equal its most frequent answer.
        `ad_unread`: Descriptions that neither name an artifact nor say that there is none.
        `ad_canned`: Descriptions of forged faces that were given word for word to another forged face.
    """
    answers = [str(p["answer"]) for p in predictions]
    figures = {
        "refused": percent([is_refusal(answer) or answer == REFUSED for answer in answers]),
        "foreign": percent([is_foreign(answer) for answer in answers]),
    }
    groups = by_task(predictions)
    for task, group in groups.items():
        counts = Counter(" ".join(_words(str(p["answer"]))) for p in group)
        figures[f"{task.short}_commonest"] = 100 * max(counts.values()) / len(group)
    if descriptions := groups.get(BenchTask.AD):
        figures["ad_unread"] = percent([parse_claims(p["answer"]) is None for p in descriptions])
        forged = [" ".join(_words(p["answer"])) for p in descriptions if p["label"] == "forged"]
        counts = Counter(forged)
        figures["ad_canned"] = percent([counts[text] > 1 for text in forged])
    return figures


IMPLIED_LABELS: Final[dict[BenchTask, tuple[str, Callable[[Prediction], Label | None]]]] = {
    BenchTask.DF_D: ("verdict", lambda p: p["predicted"]),
    BenchTask.DF_C: ("class", lambda p: label_of(p["predicted"])),
    BenchTask.AD: ("description", lambda p: described_label(p["answer"])),
}
"""Task → the kind of its answers, and the label that an answer implies."""


def consistency_scores(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Measure how often separate answers about one face imply different labels, in percent.

    Returns:
        `contradicting`: Faces with a contradiction, among those for which at least two of verdict, class and
            description imply a label.
        `verdict_class`, `verdict_description`, `class_description`: The same for each pair of answers.
    """
    implied: dict[str, dict[str, Label]] = defaultdict(dict)
    for p in predictions:
        if p["task"] in IMPLIED_LABELS:
            kind, read = IMPLIED_LABELS[p["task"]]
            if (label := read(p)) is not None:
                implied[p["face_id"]][kind] = label
    faces = [labels for labels in implied.values() if len(labels) > 1]
    if not faces:
        return {}
    figures = {"contradicting": percent([len(set(labels.values())) > 1 for labels in faces])}
    for one, other in combinations(("verdict", "class", "description"), 2):
        both = [labels[one] != labels[other] for labels in faces if one in labels and other in labels]
        if both:
            figures[f"{one}_{other}"] = percent(both)
    return figures


HABIT_WARNINGS: Final = {
    "refused": (NOTABLE, "{:.0f} % of the answers are refusals"),
    "foreign": (NOTABLE, "{:.0f} % of the answers are not in English; only English is read"),
    "ad_unread": (NOTABLE, "AD: {:.0f} % of the descriptions neither name an artifact nor say that there is none"),
    "ad_canned": (CANNED, "AD: {:.0f} % of the forged faces get exactly the same description as another one"),
}
"""Figure of `habit_scores` → the percentage from which it causes a warning, and the warning."""


def warnings(
    groups: Mapping[BenchTask, Sequence[Prediction]],
    tasks: Mapping[str, Figures],
    answers: Mapping[str, Figures],
    habits: Figures,
) -> list[str]:
    """Return sentences that a reader must know before the figures, about constant, invalid, cut and empty answers.

    Args:
        groups: The predictions of each task.
        tasks: The figures of each task.
        answers: How the questions of each task were answered, see `dfa_instruct.bench.results.answer_shares`.
        habits: The figures of `habit_scores`.
    """
    sentences = []
    for task, group in groups.items():
        if habits.get(f"{task.short}_commonest") == 100 and len({p["reference"] for p in group}) > 1:
            answer = str(group[0]["answer"])[:60]
            sentences.append(f"{task.abbreviation}: every answer is {answer!r}, whatever the face shows")
    for task in groups:
        if (invalid := tasks[task].get("invalid") or 0.0) >= NOTABLE:
            sentences.append(f"{task.abbreviation}: {invalid:.0f} % of the answers give no verdict and count as wrong")
    for task in groups:
        if share := answers[task]["cut"]:
            sentences.append(
                f"{task.abbreviation}: {share:.0f} % of the answers were cut off and are not kept; --answer-tokens "
                "allows longer answers"
            )
        if share := answers[task]["empty"]:
            sentences.append(f"{task.abbreviation}: {share:.0f} % of the answers are empty and are not kept")
    for name, (least, sentence) in HABIT_WARNINGS.items():
        if (habit := habits.get(name) or 0.0) >= least:
            sentences.append(sentence.format(habit))
    return sentences
