"""The tasks of DFA-Bench in one table: what each asks, how an answer is read, which figures are made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc

from dfa_instruct.bench.metrics import Prediction, attributed, classified, described, detected, rouge_l
from dfa_instruct.bench.tasks.parsing import parse_category, parse_option, parse_verdict
from dfa_instruct.sources.pictures import BadPictureError, open_image
from dfa_instruct.vlm.chat import CUT
from dfa_instruct.vlm.thoughts import split_thought
from dfa_instruct.vocabulary import BenchAbility, BenchTask, Label


@dataclass(frozen=True)
class Task:
    """One task of DFA-Bench."""

    ability: BenchAbility
    """Whose standardised question it puts."""
    tokens: int
    """An answer has at most so many: room for a general model that wraps its verdict in a few sentences."""
    column: str
    """Of a prediction, where stands what the answer was read as."""
    read: Callable[[Doc, str, bool], Any]
    """Read an answer to a document; the last argument tells whether it was cut."""
    again: Callable[[Doc], str] | None
    """Make the question for one word, which follows an answer that could not be read; None: any answer can."""
    figures: Callable[[Sequence[Prediction]], dict[str, float]]
    """Make the figures of the predictions."""
    results: tuple[str, ...]
    """The figures that stand in `tasks` of the results: the paper's, the share of answers that could not be read, and
    ROUGE-L of the forged faces alone. The others stand in `details`."""


def _yes_or_no(doc: Doc) -> str:
    asked = "bona fide" if _means_yes(doc) == "bona_fide" else "forged"
    return f"Is this face {asked}? Answer with one word only: yes or no."


def _letter(doc: Doc) -> str:
    letters = "ABCDE"[: len(doc.choices)]
    return f"Which option is it? Answer with its letter only: {', '.join(letters[:-1])} or {letters[-1]}."


def _means_yes(doc: Doc) -> Label:
    """Return the label that a yes to a question of DF-D means."""
    return (doc.specific or {}).get("asked", "forged")


TASKS: Final[dict[str, Task]] = {
    BenchTask.DF_D: Task(
        ability="df_d",
        tokens=128,
        column="predicted",
        read=lambda doc, answer, cut: parse_verdict(answer, _means_yes(doc), cut),
        again=_yes_or_no,
        figures=detected,
        results=("acc", "err", "acer", "invalid"),
    ),
    BenchTask.DF_C: Task(
        ability="df_c",
        tokens=128,
        column="predicted",
        read=lambda doc, answer, cut: parse_category(answer, doc.choices, cut),
        again=_letter,
        figures=classified,
        results=("acc", "invalid"),
    ),
    BenchTask.AD: Task(
        ability="ad",
        tokens=512,
        column="rouge_l",
        read=lambda doc, answer, cut: round(rouge_l(doc.get_golds()[0], answer), 2),
        again=None,
        figures=described,
        results=("rouge_l", "rouge_l_forged"),
    ),
    BenchTask.DF_T: Task(
        ability="df_t",
        tokens=128,
        column="predicted",
        read=lambda doc, answer, cut: parse_option(answer, doc.choices, cut),
        again=_letter,
        figures=attributed,
        results=("acc", "invalid"),
    ),
}


def is_asked(line: dict[str, Any], name: str) -> bool:
    """Tell whether a task puts a question about a test row: DF-T asks of forged faces only."""
    return any(question["ability"] == TASKS[name].ability for question in line["bench"])


def document(line: dict[str, Any], name: str) -> Doc:
    """Make a task's document of one test row. An image that is not decoded yet stays so until a model looks at it.

    Raises:
        BadPictureError: its image is none; the message names the face.
    """
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
        specific={key: line[key] for key in ("face_id", "video", "identities", "label", "category", "technique")}
        | {"asked": question.get("asked", "forged")},
        task_name=name,
        generation_size=task.tokens,
    )


def prediction(doc: Doc, response: ModelResponse, name: str) -> Prediction:
    """Read the response to a task's document.

    Returns:
        `task`, `face_id`, `video`, `identities`, `label`, `category`, `technique`, `question`, `reference`, `answer`;
        `predicted`, a label, a category or a technique, None where the answer could not be read, or, for AD, `rouge_l`;
        and, where the model tells them, `thought`, what stood before the answer, `finish_reason`, "length" where it was
        cut, and `first_token`: of each choice the log probability that the answer begins with it.
    """
    task = TASKS[name]
    # lighteval's vision backend gives a string where its pipeline awaits a list of them
    text = response.text if isinstance(response.text, str) else response.final_text[0]
    thought, answer = split_thought(text)
    thought = getattr(response, "thought", "") or thought
    finish_reason = getattr(response, "finish_reason", "")
    first = [round(value, 4) for value in response.logprobs]
    return {
        "task": name,
        **{key: value for key, value in (doc.specific or {}).items() if key != "asked"},
        "question": doc.query,
        "reference": doc.get_golds()[0],
        "answer": answer,
        **({"thought": thought} if thought else {}),
        **({"finish_reason": finish_reason} if finish_reason else {}),
        task.column: task.read(doc, answer, finish_reason == CUT),
        **({"first_token": dict(zip(doc.choices, first, strict=True))} if first else {}),
    }
