"""DFA-Bench as lighteval tasks: `dfa_bench_dfd`, `dfa_bench_dfc` and `dfa_bench_ad`.

`dfa-instruct bench` runs them, and so does plain lighteval where it can reach the internet (it fetches what its own
tasks need before it looks at these):

    DFA_INSTRUCT_DIR=runs/quickstart/dfa-instruct lighteval accelerate \
        "model_name=runs/quickstart/merged,device=cpu,cache_dir=runs/cache-1" "dfa_bench_dfd|0" \
        --vision-model --custom-tasks dfa_instruct.bench.tasks

lighteval keeps answers under the model's name, not its weights: give new weights in an old folder a new `cache_dir`.
It puts them into the model's own folder where that is named by an absolute path: name it by a relative one.
"""

from __future__ import annotations

import io
from typing import Any

import PIL.Image
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc

from dfa_instruct.bench.metrics import CLASSIFICATION, DETECTION, ROUGE_L
from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.vocabulary import Ability, BenchTask


def _document(line: dict[str, Any], ability: Ability) -> Doc:
    """Make the document of one test row. An image that is not decoded yet stays so until a model looks at it."""
    question = next(question for question in line["bench"] if question["ability"] == ability)
    image = line["image"]
    if isinstance(image, dict):
        image = PIL.Image.open(io.BytesIO(image["bytes"]))
    choices = question["options"] or [question["answer"]]
    return Doc(
        query=question["question"],
        choices=choices,
        gold_index=choices.index(question["answer"]),
        images=[image],
        specific={key: line[key] for key in ("face_id", "label", "category", "technique")},
    )


def dfd(line: dict[str, Any], task_name: str) -> Doc:
    """Ask whether the face is forged, to be answered by yes or no."""
    return _document(line, "df_d")


def dfc(line: dict[str, Any], task_name: str) -> Doc:
    """Ask for the category, one of five lettered options in the row's own order."""
    return _document(line, "df_c")


def ad(line: dict[str, Any], task_name: str) -> Doc:
    """Ask for a description of the artifacts."""
    return _document(line, "ad")


def _task(name: BenchTask, prompt: Any, generation_size: int, metric: Any) -> LightevalTaskConfig:
    return LightevalTaskConfig(
        name=name,
        prompt_function=prompt,
        hf_repo=DATASET_NAME,
        hf_subset="default",
        hf_avail_splits=["train", "validation", "test"],
        evaluation_splits=["test"],
        generation_size=generation_size,
        stop_sequence=[],
        metrics=[metric],
    )


# The sizes, in tokens, leave room for a general model that wraps its verdict in a sentence or two.
TASKS_TABLE = [
    _task(BenchTask.DF_D, dfd, 32, DETECTION),
    _task(BenchTask.DF_C, dfc, 64, CLASSIFICATION),
    _task(BenchTask.AD, ad, 256, ROUGE_L),
]
