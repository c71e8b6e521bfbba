"""The tasks of DFA-Bench: what each asks, how an answer is read, and which figures are computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dfa_instruct.bench.metrics import (
    AGAINST_PEOPLE,
    Prediction,
    classification_figures,
    description_figures,
    detection_figures,
    rouge_l,
)
from dfa_instruct.bench.tasks.parsing import parse_category, parse_option, parse_verdict
from dfa_instruct.bench.tasks.references import against_people
from dfa_instruct.instruct.options import LETTERS
from dfa_instruct.sources.pictures import BadPictureError, open_image
from dfa_instruct.vlm.chat import CUT
from dfa_instruct.vlm.thoughts import split_thought
from dfa_instruct.vocabulary import BenchAbility, BenchTask, Label

if TYPE_CHECKING:
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import Doc


@dataclass(frozen=True)
class Task:
    """One task of DFA-Bench.

    Attributes:
        ability: The ability whose standardised question is asked.
        tokens: The maximum number of tokens of an answer; enough for a few sentences around a verdict.
        truth: The key of a prediction that holds the right answer.
        column: The key of a prediction that holds what the answer was read as.
        read: Reads an answer to a document. The last argument tells whether the answer was cut.
        again: Returns the question for one word that follows an answer that could not be read. None: every answer can
            be read.
        figures: Computes the figures of the task's predictions.
        results: The figures that stand in `tasks` of the results, if there are any: the paper's figures, the share of
            invalid answers, ROUGE-L of the forged faces alone, and the comparison with people. The other figures stand
            in `details`.
    """

    ability: BenchAbility
    tokens: int
    truth: str
    column: str
    read: Callable[[Doc, str, bool], Any]
    again: Callable[[Doc], str] | None
    figures: Callable[[Sequence[Prediction]], dict[str, float]]
    results: tuple[str, ...]


def _ask_yes_or_no(doc: Doc) -> str:
    asked = "bona fide" if _label_of_yes(doc) == "bona_fide" else "forged"
    return f"Is this face {asked}? Answer with one word only: yes or no."


def _ask_letter(doc: Doc) -> str:
    letters = LETTERS[: len(doc.choices)]
    return f"Which option is it? Answer with its letter only: {', '.join(letters[:-1])} or {letters[-1]}."


def _label_of_yes(doc: Doc) -> Label:
    """Return the label that the answer yes to a question of DF-D means."""
    return (doc.specific or {}).get("asked", "forged")


TASKS: Final[dict[str, Task]] = {
    BenchTask.DF_D: Task(
        ability="df_d",
        tokens=128,
        truth="label",
        column="predicted",
        read=lambda doc, answer, cut: parse_verdict(answer, _label_of_yes(doc), cut),
        again=_ask_yes_or_no,
        figures=detection_figures,
        results=("acc", "err", "acer", "invalid"),
    ),
    BenchTask.DF_C: Task(
        ability="df_c",
        tokens=128,
        truth="category",
        column="predicted",
        read=lambda doc, answer, cut: parse_category(answer, doc.choices, cut),
        again=_ask_letter,
        figures=classification_figures,
        results=("acc", "invalid"),
    ),
    BenchTask.AD: Task(
        ability="ad",
        tokens=512,
        truth="reference",
        column="rouge_l",
        read=lambda doc, answer, cut: round(rouge_l(doc.get_golds()[0], answer), 2),
        again=None,
        figures=description_figures,
        results=("rouge_l", "rouge_l_forged", *AGAINST_PEOPLE),
    ),
    BenchTask.DF_T: Task(
        ability="df_t",
        tokens=128,
        truth="technique",
        column="predicted",
        read=lambda doc, answer, cut: parse_option(answer, doc.choices, cut),
        again=_ask_letter,
        figures=partial(classification_figures, truth="technique"),
        results=("acc", "invalid"),
    ),
}


_FACTS: Final = ("face_id", "video", "identities", "label", "category", "technique")
"""The columns of a row that are keys of its predictions."""


def figure_names(task: str) -> list[str]:
    """Return the names of a task's figures that other benchmark tools compute.

    They are all except those that compare with people's descriptions.
    """
    return [name for name in TASKS[task].results if name not in AGAINST_PEOPLE]


def _words(line: dict[str, Any]) -> dict[str, Any]:
    """Return what `against_people` needs of a row."""
    return {key: line.get(key) for key in ("descriptions", "artifacts", "pairing")}


def is_asked(line: dict[str, Any], name: str) -> bool:
    """Return whether a task has a question about a test row: DF-T asks about forged faces only."""
    return any(question["ability"] == TASKS[name].ability for question in line["bench"])


def document(line: dict[str, Any], name: str) -> Doc:
    """Make a task's document of one test row. An encoded image is not decoded before a model uses it.

    Raises:
        BadPictureError: The image is broken; the message names the face.
    """
    from lighteval.tasks.requests import Doc

    task = TASKS[name]
    question = next(question for question in line["bench"] if question["ability"] == task.ability)
    image = line["image"]
    if isinstance(image, dict):
        try:
            image = open_image(image["bytes"], smallest=1)
        except BadPictureError as error:
            raise BadPictureError(f"test face {line['face_id']}: {error}") from error
    choices = question["options"] or [question["answer"]]
    return Doc(
        query=question["question"],
        choices=choices,
        gold_index=choices.index(question["answer"]),
        images=[image],
        specific={key: line[key] for key in _FACTS} | {"asked": question.get("asked", "forged"), "line": _words(line)},
        task_name=name,
        generation_size=task.tokens,
    )


def prediction(doc: Doc, response: ModelResponse, name: str) -> Prediction:
    """Read the response to a task's document.

    Returns:
        `task`, `face_id`, `video`, `identities`, `label`, `category`, `technique`, `question`, `reference`, `answer`.
        For AD also `rouge_l` and the keys of `against_people`; for the other tasks `predicted`, a label, a category or
        a technique, or None if the answer could not be read. If the model provides them, also `thought`, the text
        before the answer; `finish_reason`, "length" if the answer was cut; and `first_token`, the log probability that
        the answer starts with each choice.
    """
    task = TASKS[name]
    # lighteval's vision backend gives a string where its pipeline expects a list of strings
    text = response.text if isinstance(response.text, str) else response.final_text[0]
    thought, answer = split_thought(text)
    thought = getattr(response, "thought", "") or thought
    finish_reason = getattr(response, "finish_reason", "")
    first = [round(value, 4) for value in response.logprobs]
    facts = doc.specific or {}
    return {
        "task": name,
        **{key: value for key, value in facts.items() if key in _FACTS},
        "question": doc.query,
        "reference": doc.get_golds()[0],
        "answer": answer,
        **({"thought": thought} if thought else {}),
        **({"finish_reason": finish_reason} if finish_reason else {}),
        task.column: task.read(doc, answer, finish_reason == CUT),
        **(against_people(facts["line"], answer) if name == BenchTask.AD and "line" in facts else {}),
        **({"first_token": dict(zip(doc.choices, first, strict=True))} if first else {}),
    }
