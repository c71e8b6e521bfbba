"""Running DFA-Bench with models that see the images' colours, and with a tiny LLaVA of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from bench_data import COLOURS, TEST, TRAIN, description, row, tiny_base, write, write_counts
from lighteval.logging.info_loggers import MetricsLogger
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.lighteval_task import LightevalTask
from lighteval.tasks.requests import Doc
from typer.testing import CliRunner

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.experiments.baselines import baselines, images_swapped
from dfa_instruct.bench.metrics import classification, detection, rouge_l
from dfa_instruct.bench.predictions import read_predictions
from dfa_instruct.bench.results import write_results
from dfa_instruct.bench.runner import load_rows, run_bench
from dfa_instruct.bench.tasks.lighteval_tasks import TASKS_TABLE
from dfa_instruct.bench.tasks.questions import TASKS
from dfa_instruct.cli import app
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from dfa_instruct.vocabulary import CATEGORIES, Category


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_counts(tmp_path_factory.mktemp("data") / "dfa-instruct", train=TRAIN, test=TEST)


class Spoken:
    """A model that looks at the image's colour and says something about the category it belongs to."""

    def __init__(self, say: Callable[[Doc, Category | None], str | list[str]]) -> None:
        self.say = say

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        seen = [next((c for c in CATEGORIES if COLOURS[c] == d.images[0].getpixel((0, 0))), None) for d in docs]
        return [ModelResponse(text=self.say(doc, category)) for doc, category in zip(docs, seen, strict=True)]


def truth(doc: Doc, category: Category | None) -> list[str]:
    if category is None:
        return ["I see nothing."]
    if doc.task_name.startswith("dfa_bench_dfd"):
        return ["No" if category == "bona_fide" else "Yes, it is forged."]
    if doc.task_name.startswith("dfa_bench_dfc"):
        return ["The answer is " + "ABCDE"[doc.choices.index(CATEGORIES[category])]]
    if doc.task_name.startswith("dfa_bench_dft"):
        return [f"by {category}"]
    return [description(category)]


def test_a_model_that_sees_is_right_and_its_baselines_are_not(data: Path) -> None:
    results = run_bench(Spoken(truth), data)
    assert results["tasks"] == {
        "dfa_bench_dfd": {"acc": 100, "err": 0, "acer": 0, "invalid": 0},
        "dfa_bench_dfc": {"acc": 100, "invalid": 0},
        "dfa_bench_ad": {"rouge_l": 100, "rouge_l_forged": 100},
        "dfa_bench_dft": {"acc": 100, "invalid": 0},
    }
    assert results["counts"] == {"images": 13, "questions": 3 * 13 + 8, "forged": 8, "videos": 0, **TEST}
    beside = baselines(Spoken(truth), data)
    # Most of the train split is forged, its most frequent category is bona fide.
    assert beside["majority"]["dfa_bench_dfd"] == {"acc": 61.54, "err": 38.46, "acer": 50, "invalid": 0}
    assert beside["majority"]["dfa_bench_dfc"] == {"acc": 38.46, "invalid": 0}
    # Of the techniques offered, the train split has face swapping's most often, as two of eight forged test faces do.
    assert beside["majority"]["dfa_bench_dft"] == {"acc": 25, "invalid": 0}
    assert beside["image_blind"]["dfa_bench_dfd"]["invalid"] == 100
    assert beside["image_blind"]["dfa_bench_dfc"] == {"acc": 0, "invalid": 100}
    # What it answers now is the truth about another image.
    swapped = images_swapped(load_rows(data))
    category = {r["image"]["bytes"]: r["category"] for r in load_rows(data)}
    right = np.mean([category[r["image"]["bytes"]] == r["category"] for r in swapped])
    assert beside["images_swapped"]["dfa_bench_dfc"] == {"acc": round(100 * right, 2), "invalid": 0}
    assert beside["chance"]["dfa_bench_dfc"]["acc"] == pytest.approx(100 * (25 + 4 * 4) / 13**2, abs=0.01)
    assert set(beside["images_swapped"]) == set(TASKS)


def test_swapping_deals_every_image_to_another_row(data: Path) -> None:
    rows = [{**r, "image": r["face_id"]} for r in load_rows(data)]
    swapped = [r["image"] for r in images_swapped(rows)]
    assert sorted(swapped) == sorted(r["face_id"] for r in rows)
    assert all(image != r["face_id"] for image, r in zip(swapped, rows, strict=True))
    assert swapped == [r["image"] for r in images_swapped(rows)]


MUMBLED = ["Yes", "No", "It is a deepfake.", "Perhaps.", "C", "face swapping", "bona fide", "", "It is face editing."]


def mumble(doc: Doc, category: Category | None) -> list[str]:
    return [MUMBLED[int(doc.specific["face_id"], 16) % len(MUMBLED)]]  # type: ignore[index]


def test_the_figures_are_those_of_the_predictions(data: Path) -> None:
    results = run_bench(Spoken(mumble), data)
    of = {task: [p for p in results["predictions"] if p["task"] == task] for task in TASKS}
    dfd, dfc, ad, dft = of.values()
    expected = detection([p["label"] for p in dfd], [p["predicted"] for p in dfd])
    assert results["tasks"]["dfa_bench_dfd"] == {k: round(expected[k], 2) for k in ("acc", "err", "acer", "invalid")}
    assert results["details"]["dfa_bench_dfd"]["apcer"] == round(expected["apcer"], 2)
    expected = classification([p["category"] for p in dfc], [p["predicted"] for p in dfc])
    assert results["tasks"]["dfa_bench_dfc"] == {k: round(expected[k], 2) for k in ("acc", "invalid")}
    assert 0 < expected["acc"] < 100
    scores = [rouge_l(p["reference"], p["answer"]) for p in ad]
    assert results["tasks"]["dfa_bench_ad"]["rouge_l"] == pytest.approx(np.mean(scores), abs=0.01)
    scores = [rouge_l(p["reference"], p["answer"]) for p in ad if p["label"] == "forged"]
    assert results["tasks"]["dfa_bench_ad"]["rouge_l_forged"] == pytest.approx(np.mean(scores), abs=0.01)
    assert [p["face_id"] for p in dfd] == [f"{i:016x}" for i in range(13)]
    assert [p["face_id"] for p in dft] == [p["face_id"] for p in dfd if p["label"] == "forged"]
    assert [p["predicted"] for p in dfd[:4]] == ["forged", "bona_fide", "forged", None]
    assert results["details"]["dfa_bench_ad"] == {}


@pytest.mark.parametrize("as_string", [False, True])  # lighteval's vision backend gives a string instead of a list
def test_lighteval_makes_the_same_figures_of_the_same_answers(data: Path, as_string: bool) -> None:
    ours = run_bench(Spoken(mumble), data)
    tasks = {config.full_name: LightevalTask(config) for config in TASKS_TABLE}
    logger = MetricsLogger()
    for name, task in tasks.items():
        for line in filter(task.config.hf_filter, load_rows(data)):
            doc = task.config.prompt_function(line, task.name)
            said = mumble(doc, None)
            response = ModelResponse(text=said[0] if as_string else said)  # type: ignore[arg-type]
            for metric in task.metrics:
                logger.log(name, metric.compute_sample(doc=doc, model_response=response))
    logger.aggregate(tasks)
    for name, task in tasks.items():
        theirs = {key: round(value, 2) for key, value in logger.metric_aggregated[name].items()}
        assert theirs == {**ours["tasks"][task.name], **ours["details"][task.name]}


def test_what_is_written(data: Path, tmp_path: Path) -> None:
    results = run_bench(Spoken(truth), data, tasks=["dfa_bench_dfc"], limit=4)
    write_results(results, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["predictions.parquet", "results.json"]
    assert json.loads((tmp_path / "out/results.json").read_text())["tasks"] == results["tasks"]
    assert read_predictions(tmp_path / "out") == results["predictions"]
    assert len(results["predictions"]) == results["counts"]["images"] == 4


def test_a_rate_over_no_rows_is_null(tmp_path: Path) -> None:
    only = write(tmp_path / "dfa-instruct", {"test": [row("bona_fide", "test", 0)]})
    assert run_bench(Spoken(truth), only)["tasks"]["dfa_bench_dfd"]["acer"] is None


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("model") / "base", seed=0)


def answers(model: Path | BenchModel, data: Path) -> list[str]:
    results = run_bench(model, data, tasks=["dfa_bench_dfd"], limit=3)
    return [prediction["answer"] for prediction in results["predictions"]]


def test_answers_do_not_depend_on_the_batch(base: Path, data: Path) -> None:
    together = answers(base, data)
    assert any(together)
    assert answers(BenchModel(VisionLanguageModel(base, batch_size=1)), data) == together


def test_new_weights_in_an_old_folder_give_new_answers(data: Path, tmp_path: Path) -> None:
    before = answers(tiny_base(tmp_path / "model", seed=1), data)
    assert answers(tiny_base(tmp_path / "model", seed=2), data) != before


def test_adapter_and_merged_folder_answer_alike(base: Path, data: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText, AutoProcessor

    lora = LoraConfig(
        r=4,
        target_modules=r"model\.language_model\..*\.(q|k|v|o|gate|up|down)_proj",
        modules_to_save=["multi_modal_projector"],
        init_lora_weights=False,  # random, so that the adapter changes what is said
    )
    model = get_peft_model(AutoModelForImageTextToText.from_pretrained(base), lora)
    model.save_pretrained(tmp_path / "adapter")
    model.merge_and_unload().save_pretrained(tmp_path / "merged")
    for folder in ("adapter", "merged"):
        AutoProcessor.from_pretrained(base).save_pretrained(tmp_path / folder)
    adapted = answers(tmp_path / "adapter", data)
    assert adapted == answers(tmp_path / "merged", data)
    assert adapted != answers(base, data)


def test_the_same_question_about_the_same_image_is_put_once(base: Path, data: Path) -> None:
    model = BenchModel(VisionLanguageModel(base))
    put: list[int] = []
    answer = model.model.answer
    model.model.answer = lambda chats, keep: (put.append(len(chats)), answer(chats, keep))[1]  # type: ignore[method-assign, func-returns-value]
    grey = PIL.Image.new("RGB", (32, 32))
    said = model.greedy_until([Doc("Why?", [], 0, images=[grey], generation_size=4) for _ in range(3)])
    assert put == [1]
    assert len({response.text[0] for response in said}) == 1


def test_tasks_leave_room_for_sentences_and_have_plain_names() -> None:
    assert [config.name for config in TASKS_TABLE] == list(TASKS)
    assert all(":" not in config.name and config.generation_size >= 16 for config in TASKS_TABLE)


@pytest.mark.parametrize("name", ["{tmp}/nothing", "{tmp}", "no/such/model", "runs/adaptor"])
def test_a_missing_model_is_one_line(name: str, data: Path, tmp_path: Path) -> None:
    name = name.format(tmp=tmp_path)
    with pytest.raises(OSError) as error:
        run_bench(name, data)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_data_without_test_rows_or_questions(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        run_bench(Spoken(truth), tmp_path / "nothing")
    with pytest.raises(ValueError, match="no test split"):
        run_bench(Spoken(truth), write(tmp_path / "a", {"train": [row("bona_fide", "train", 0)]}))
    with pytest.raises(ValueError, match=r"face 0+7 has no bench question for ad, df_c, df_d"):
        run_bench(Spoken(truth), write(tmp_path / "b", {"test": [{**row("bona_fide", "test", 7), "bench": []}]}))
    with pytest.raises(ValueError, match="unknown task dfd"):
        run_bench(Spoken(truth), tmp_path / "b", tasks=["dfd"])


def test_the_command_asks_the_tasks_that_it_is_given(base: Path, data: Path) -> None:
    command = ["bench", str(base), "--data", str(data), "--limit", "2", "--baselines"]
    done = CliRunner().invoke(app, [*command, "--json", "--task", "dfa_bench_dfd", "--task", "dfa_bench_dfc"])
    assert done.exit_code == 0
    shown = json.loads(done.stdout[done.stdout.index("{") :])
    assert set(shown["tasks"]) == set(shown["baselines"]["image_blind"]) == {"dfa_bench_dfd", "dfa_bench_dfc"}
    done = CliRunner().invoke(app, [*command, "--task", "dfa_bench_dfd"])
    assert done.exit_code == 0 and "DF-D ACC" in done.stdout and "{" not in done.stdout
    done = CliRunner().invoke(app, [*command, "--output", __file__])
    assert done.exit_code == 2 and f"--output {__file__}: " in done.stderr
    done = CliRunner().invoke(app, [*command, "--task", "dfd"])
    assert done.exit_code == 2
    assert "'--task'" in done.stderr and "'dfd'" in done.stderr


def test_a_dataset_of_before_the_fourth_task_is_measured_by_the_three(tmp_path: Path) -> None:
    faces = [row(category, "test", i) for i, category in enumerate(CATEGORIES)]
    old = [{**face, "bench": face["bench"][:3]} for face in faces]
    data = write(tmp_path / "dfa-instruct", {"train": [row("bona_fide", "train", 0)], "test": old})
    assert list(run_bench(Spoken(truth), data)["tasks"]) == ["dfa_bench_dfd", "dfa_bench_dfc", "dfa_bench_ad"]
    assert "dfa_bench_dft" not in baselines(Spoken(truth), data)["majority"]
    with pytest.raises(ValueError, match="no test row has a question of dfa_bench_dft"):
        run_bench(Spoken(truth), data, tasks=["dfa_bench_dft"])
