"""`dfa-instruct convert`: DFA-Bench as a task folder for lmms-eval and as a TSV file for VLMEvalKit."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench_data import TEST, TRAIN, row, write, write_counts
from datasets import load_dataset
from typer.testing import CliRunner

from dfa_instruct.bench.runner import ask, load_rows
from dfa_instruct.bench.tasks.questions import TASKS, figure_names
from dfa_instruct.cli import app
from dfa_instruct.vocabulary import BenchTask

FORGED = sum(TEST.values()) - TEST["bona_fide"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_counts(tmp_path / "dfa-instruct", train=TRAIN, test=TEST)


def convert(*words: object) -> Any:
    return CliRunner().invoke(app, ["convert", *map(str, words)])


class _Loader(yaml.SafeLoader):
    """Reads the name of a function as a string, which lmms-eval imports."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def test_the_tasks_of_lmms_eval_have_our_questions_and_give_our_figures(data: Path, tmp_path: Path) -> None:
    done = convert(data, tmp_path / "tasks", "--to", "lmms-eval")
    faces = sum(TEST.values())
    assert done.output.split("\n")[:4] == [f"AD: {faces}", f"DF-C: {faces}", f"DF-D: {faces}", f"DF-T: {FORGED}"]
    functions = runpy.run_path(str(tmp_path / "tasks" / "utils.py"))

    def function(name: str) -> Any:
        module, _, function = name.partition(".")
        assert module == "utils"
        return functions[function]

    class Talking:
        """Answers every third question rightly, and others with a sentence that can or cannot be read."""

        def __init__(self) -> None:
            self.answers: dict[str, list[str]] = {}

        def greedy_until(self, docs: list[Any]) -> list[Any]:
            from lighteval.models.model_output import ModelResponse

            said = [
                (doc.get_golds()[0], "No, this face is bona fide.", "Who knows?")[i % 3] for i, doc in enumerate(docs)
            ]
            for doc, answer in zip(docs, said, strict=True):
                self.answers.setdefault(doc.task_name, []).append(answer)
            return [ModelResponse(text=[answer]) for answer in said]

    model = Talking()
    predictions = ask(model, load_rows(data))
    for task in BenchTask:
        settings = yaml.load((tmp_path / "tasks" / f"{task}.yaml").read_text(), _Loader)
        assert settings["task"] == task and settings["generation_kwargs"]["max_new_tokens"] == TASKS[task].tokens
        rows = load_dataset(settings["dataset_path"], **settings["dataset_kwargs"])["test"]
        rows = function(settings["process_docs"])(rows)
        ours = [p for p in predictions if p["task"] == task]
        assert [function(settings["doc_to_text"])(row) for row in rows] == [p["question"] for p in ours]
        assert [function(settings["doc_to_target"])(row) for row in rows] == [p["reference"] for p in ours]
        (image,) = function(settings["doc_to_visual"])(rows[0])
        assert image.size == (32, 32) and image.mode == "RGB"
        read = [
            function(settings["process_results"])(row, [answer])
            for row, answer in zip(rows, model.answers[task], strict=True)
        ]
        figures = TASKS[task].figures(ours)
        assert [metric["metric"] for metric in settings["metric_list"]] == figure_names(task)
        for metric in settings["metric_list"]:
            name = metric["metric"]
            assert function(metric["aggregation"])([of_row[name] for of_row in read]) == figures[name]
            assert metric["higher_is_better"] == (name in ("acc", "rouge_l", "rouge_l_forged"))


def test_the_tsv_file_has_the_columns_of_vlmevalkit_and_the_pictures_unchanged(data: Path, tmp_path: Path) -> None:
    done = convert(data, tmp_path / "DFA_Bench.tsv", "--to", "vlmevalkit")
    faces = sum(TEST.values())
    assert done.output.split("\n")[:3] == [f"DF-C: {faces}", f"DF-D: {faces}", f"DF-T: {FORGED}"]
    with (tmp_path / "DFA_Bench.tsv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    assert [int(line["index"]) for line in lines] == list(range(len(lines)))
    told = {"df_d": "DF-D", "df_c": "DF-C", "df_t": "DF-T"}
    expected = [(face, asked) for face in load_rows(data) for asked in face["bench"] if asked["ability"] in told]
    for line, (face, asked) in zip(lines, expected, strict=True):
        assert line["category"] == told[asked["ability"]]
        options = [line[letter] for letter in "ABCDE" if line[letter]]
        assert options == asked["options"] and line[line["answer"]] == asked["answer"]
        assert line["question"] == asked["question"].split("\n")[0]  # VLMEvalKit adds the options
        assert Path(line["image_path"]).read_bytes() == face["image"]["bytes"]


def test_a_row_without_questions_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    bad = row("bona_fide", "test", 1) | {"bench": []}
    data = write(tmp_path / "dfa-instruct", {"test": [row("bona_fide", "test", 0), bad]})
    for output, form in (("tasks", "lmms-eval"), ("DFA_Bench.tsv", "vlmevalkit")):
        done = convert(data, tmp_path / output, "--to", form)
        assert done.exit_code == 2 and bad["face_id"] in done.stderr and "df_d" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["dfa-instruct"]


def test_wrong_options_are_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for words, named in (
        (("there", "--to", "lmms-eval"), "there exists already"),
        (("a.csv", "--to", "vlmevalkit"), "NAME.tsv"),
        (("new", "--to", "lmms-eval", "--from", "fakeclue"), "only a dataset folder"),
        (("new.tsv", "--to", "vlmevalkit", "--images", tmp_path), "--images"),
    ):
        done = convert(data, tmp_path / words[0], *words[1:])
        assert done.exit_code == 2 and named in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"there", "dfa-instruct"}
