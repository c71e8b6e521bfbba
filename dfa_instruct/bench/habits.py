"""How a model answers, whatever the face: what no habit of speech may hide behind a good figure.

A model that always says yes, one that refuses, one that answers in another language and one that gives every face the
same description can each reach figures that look like skill. Here each is shown for what it is.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dfa_instruct.annotate.answer_parsing import is_foreign, is_refusal
from dfa_instruct.bench.metrics import Prediction, percent
from dfa_instruct.bench.tasks.parsing import described_label, label_of, parse_claims
from dfa_instruct.vlm.chat import REFUSED
from dfa_instruct.vocabulary import BenchTask, Label

NOTABLE: Final = 5.0
"""Percent of answers from which on a habit is warned of."""
CANNED: Final = 50.0
"""Percent of descriptions that are another face's, from which on they are warned of."""
_WORD: Final = re.compile(r"[^\W\d_]+")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def of_habits(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Describe how all questions were answered, in percent.

    Returns:
        `refused` and `foreign` (not in English) of all answers; for each task that was asked the share of its
        `<task>_commonest` answer; of the descriptions `ad_unread`, which neither name an artifact nor say that there
        is none, and of those of forged faces `ad_canned`, which were given word for word to another forged face.
    """
    answers = [str(p["answer"]) for p in predictions]
    figures = {
        "refused": percent([is_refusal(answer) or answer == REFUSED for answer in answers]),
        "foreign": percent([is_foreign(answer) for answer in answers]),
    }
    said: dict[str, list[str]] = defaultdict(list)
    for p, answer in zip(predictions, answers, strict=True):
        said[BenchTask(p["task"]).short].append(" ".join(_words(answer)))
    figures |= {f"{task}_commonest": 100 * max(Counter(of).values()) / len(of) for task, of in said.items()}
    described = [p for p in predictions if p["task"] == BenchTask.AD]
    if described:
        figures["ad_unread"] = percent([parse_claims(p["answer"]) is None for p in described])
        forged = [" ".join(_words(p["answer"])) for p in described if p["label"] == "forged"]
        times = Counter(forged)
        figures["ad_canned"] = percent([times[text] > 1 for text in forged])
    return figures


def of_consistency(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Tell how often the answers about one face, each given by itself, imply different labels; in percent.

    Returns:
        `contradicting`, the share of faces of which any two of verdict, class and description do, among those with two
        that could be read; and of each two, likewise, `verdict_class`, `verdict_description`, `class_description`.
    """
    implied: dict[str, dict[str, Label]] = defaultdict(dict)
    read = {
        BenchTask.DF_D: ("verdict", lambda p: p["predicted"]),
        BenchTask.DF_C: ("class", lambda p: label_of(p["predicted"])),
        BenchTask.AD: ("description", lambda p: described_label(p["answer"])),
    }
    for p in predictions:
        if p["task"] in read:
            name, label = read[p["task"]][0], read[p["task"]][1](p)
            if label is not None:
                implied[p["face_id"]][name] = label
    faces = [labels for labels in implied.values() if len(labels) > 1]
    if not faces:
        return {}
    figures = {"contradicting": percent([len(set(labels.values())) > 1 for labels in faces])}
    for one, other in (("verdict", "class"), ("verdict", "description"), ("class", "description")):
        both = [labels[one] != labels[other] for labels in faces if one in labels and other in labels]
        if both:
            figures[f"{one}_{other}"] = percent(both)
    return figures


def warnings(results: Mapping[str, Any]) -> list[str]:
    """Say in sentences what a reader must know before the figures: constant answers, and answers that are none."""
    habits, said = results["scores"].get("habits", {}), []
    for task in BenchTask:
        asked = [p for p in results["predictions"] if p["task"] == task]
        if habits.get(f"{task.short}_commonest") == 100 and len({p["reference"] for p in asked}) > 1:
            answer = str(asked[0]["answer"])[:60]
            said.append(f"{task.abbreviation}: every answer is {answer!r}, whatever the face: it tells nothing")
    for name, figures in results["tasks"].items():
        if (invalid := figures.get("invalid") or 0.0) >= NOTABLE:
            said.append(
                f"{BenchTask(name).abbreviation}: {invalid:.0f} % of the answers give no verdict, and count as wrong"
            )
    for name, how in results["answers"].items():
        short = BenchTask(name).abbreviation
        if cut := how["cut"]:
            said.append(
                f"{short}: {cut:.0f} % of the answers were cut off; these are not kept; --answer-tokens gives more"
            )
        if empty := how["empty"]:
            said.append(f"{short}: {empty:.0f} % of the answers are empty; these are not kept")
    sentences = {
        "refused": (NOTABLE, "{:.0f} % of the answers are refusals"),
        "foreign": (NOTABLE, "{:.0f} % of the answers are not in English; none is read in another language"),
        "ad_unread": (NOTABLE, "AD: {:.0f} % of the descriptions name no artifact, nor say that there is none"),
        "ad_canned": (CANNED, "AD: {:.0f} % of the forged faces get, word for word, another one's description"),
    }
    for name, (least, sentence) in sentences.items():
        if (share := habits.get(name) or 0.0) >= least:
            said.append(sentence.format(share))
    return said
