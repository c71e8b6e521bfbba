"""Write DFA-Bench for other tools: a task folder for lmms-eval, or a TSV file for VLMEvalKit."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from dfa_instruct.bench.rows import stream
from dfa_instruct.bench.tasks.questions import TASKS, figure_names, is_asked
from dfa_instruct.dataset.reading import files_of
from dfa_instruct.instruct.options import LETTERS
from dfa_instruct.vocabulary import BenchTask

_TASK_FUNCTIONS: Final = {
    "process_docs": "with_question",
    "doc_to_text": "text",
    "doc_to_target": "target",
    "process_results": "results",
}
"""Key of a task's YAML file → function of `lmms_eval_tasks`."""

_UTILS: Final = '''"""The functions of the tasks in this folder. They need the package dfa-instruct beside lmms-eval."""

from functools import partial

from dfa_instruct.bench.tasks import lmms_eval_tasks

visual = lmms_eval_tasks.visual
'''


class _Function(str):
    """A function that a YAML file of lmms-eval names."""


class _Dumper(yaml.SafeDumper):
    """Writes functions as lmms-eval reads them."""


_Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))


def write_lmms_eval(data: Path, output: Path) -> Counter[str]:
    """Write the tasks of DFA-Bench as a folder for the option `--include_path` of lmms-eval.

    The folder names the files of the dataset, which must stay where they are.

    Args:
        data: The dataset folder.
        output: The new folder.

    Returns:
        The number of questions of each task.

    Raises:
        FileExistsError: The output exists.
        FileNotFoundError: There is no dataset in the folder.
        ValueError: There is no test row, or a row lacks its questions.
    """
    _check_new(output)
    counts = Counter(task.abbreviation for _, task, _ in _questions(data, ["face_id", "bench"]))
    files = [str(path.absolute()) for path in files_of(data)["test"]]
    utils = [_UTILS]
    output.mkdir(parents=True)
    for task in BenchTask:
        functions = {key: f"{task.short}_{name}" for key, name in _TASK_FUNCTIONS.items()}
        figures = {figure: f"{task.short}_{figure}" for figure in figure_names(task)}
        settings = {
            "task": str(task),
            "tag": "dfa_bench",
            "dataset_path": "parquet",
            "dataset_kwargs": {"data_files": {"test": files}},
            "test_split": "test",
            "output_type": "generate_until",
            "doc_to_visual": _Function("utils.visual"),
            **{key: _Function(f"utils.{function}") for key, function in functions.items()},
            "process_results_use_image": True,
            "generation_kwargs": {
                "max_new_tokens": TASKS[task].tokens,
                "do_sample": False,
                "temperature": 0,
                "until": [],
            },
            "metric_list": [
                {
                    "metric": figure,
                    "aggregation": _Function(f"utils.{function}"),
                    "higher_is_better": figure.startswith(("acc", "rouge")),
                }
                for figure, function in figures.items()
            ],
        }
        (output / f"{task}.yaml").write_text(yaml.dump(settings, Dumper=_Dumper, sort_keys=False), encoding="utf-8")
        utils += [
            f'{function} = partial(lmms_eval_tasks.{name}, "{task}")'
            for function, name in zip(functions.values(), _TASK_FUNCTIONS.values(), strict=True)
        ]
        utils += [
            f'{function} = partial(lmms_eval_tasks.figure, "{task}", "{figure}")'
            for figure, function in figures.items()
        ]
    (output / "utils.py").write_text("\n".join(utils) + "\n", encoding="utf-8")
    return counts


def write_vlmevalkit(data: Path, output: Path) -> Counter[str]:
    """Write DF-D, DF-C and DF-T as a TSV file of multiple-choice questions for VLMEvalKit.

    The pictures are written to `images/NAME` beside the file NAME.tsv, and the column `image_path` names them. A column
    `image` would not do, because VLMEvalKit saves its pictures as JPEG, which removes traces of a forgery.

    Args:
        data: The dataset folder.
        output: The new file.

    Returns:
        The number of questions of each task.

    Raises:
        FileExistsError: The output exists.
        FileNotFoundError: There is no dataset in the folder.
        ValueError: The output is not called *.tsv, there is no test row, or a row lacks its questions.
    """
    if output.suffix != ".tsv":
        raise ValueError(f"{output}: expected a file called NAME.tsv; VLMEvalKit takes NAME as the dataset's name")
    _check_new(output)
    for _ in _questions(data, ["face_id", "bench"]):
        pass  # so that nothing is written if a row lacks its questions
    images = output.absolute().parent / "images" / output.stem
    images.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    partial = output.with_name(f".{output.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            columns = ["index", "image_path", "question", *LETTERS, "answer", "category", "l2-category"]
            writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n")
            writer.writeheader()
            for row, task, question in _questions(data, ["face_id", "image", "category", "bench"]):
                if task == BenchTask.AD:
                    continue
                path = images / f"{row['face_id']}.png"
                path.write_bytes(row["image"]["bytes"])
                writer.writerow(
                    {
                        "index": counts.total(),
                        "image_path": path,
                        "question": question["question"].partition(f"\n{LETTERS[0]}. ")[0],
                        **dict(zip(LETTERS, question["options"], strict=False)),
                        "answer": LETTERS[question["options"].index(question["answer"])],
                        "category": task.abbreviation,
                        "l2-category": f"{task.abbreviation} {row['category']}",
                    }
                )
                counts[task.abbreviation] += 1
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return counts


def _check_new(output: Path) -> None:
    if output.exists():
        raise FileExistsError(f"{output} exists already; choose a new name")


def _questions(data: Path, columns: list[str]) -> Iterator[tuple[dict[str, Any], BenchTask, dict[str, Any]]]:
    """Yield the questions about every test row."""
    row = None
    for row in stream(data, "test", columns):
        for task in BenchTask:
            if is_asked({"bench": row["bench"] or []}, task):
                asked = (question for question in row["bench"] if question["ability"] == TASKS[task].ability)
                yield row, task, next(asked)
            elif task != BenchTask.DF_T:
                raise ValueError(
                    f"{data}: test face {row['face_id']} has no bench question for {TASKS[task].ability}; "
                    "`dfa-instruct instruct` writes them anew"
                )
    if row is None:
        raise ValueError(f"{data}: the test split has no rows")
