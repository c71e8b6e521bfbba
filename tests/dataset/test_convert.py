"""Convert conversations: from a dataset folder, FakeClue and DD-VQA to the formats of LLaVA and TRL."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.cli import app

FAKECLUE = [
    {"image": "deepfake/fake/a.jpg", "label": 0, "conversations": [
        {"from": "human", "value": "<image>Does the image look real or fake?"},
        {"from": "gpt", "value": "This is a fake image. The mouth is blurred."}]},
    {"image": "deepfake/real/b.png", "label": 1, "conversations": [
        {"from": "human", "value": "Does the image look real or fake?\n<image>"},
        {"from": "gpt", "value": "This is a real image. The light is natural."}]},
    {"image": "deepfake/real/missing.png", "label": 1, "conversations": [
        {"from": "human", "value": "<image>Real or fake?"}, {"from": "gpt", "value": "This is a real image."}]},
]  # fmt: skip
DD_VQA = {
    "0_114_102": {
        "0": {"question": "Does the image look real/fake?", "answer": ["The image looks fake.", "It looks fake."]},
        "1": {"question": "Does the person's nose look real/fake?", "answer": ["The nose looks fake."]},
    },
    "5_114": {"0": {"question": "Does the image look real/fake?", "answer": ["The image looks real."]}},
}


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("deepfake/fake/a.jpg", "deepfake/real/b.png", "0_114_102.png", "5_114.png"):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return tmp_path / "pictures"


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["convert", *map(str, words)])


def test_a_dataset_is_converted_to_llava_and_trl(tmp_path: Path, dataset_folder: Path) -> None:
    assert run(dataset_folder, tmp_path / "llava.json").exit_code == 0
    assert run(dataset_folder, tmp_path / "trl.jsonl", "--to", "trl").exit_code == 0
    llava = json.loads((tmp_path / "llava.json").read_text())
    trl = [json.loads(line) for line in (tmp_path / "trl.jsonl").read_text().splitlines()]
    assert len(llava) == len(trl) > 50
    for one, other in zip(llava, trl, strict=True):
        said = [turn["value"].removeprefix("<image>\n") for turn in one["conversations"]]
        assert said == [message["content"] for message in other["messages"]] and len(said) == 14
        assert [turn["from"] for turn in one["conversations"]] == ["human", "gpt"] * 7
        assert "".join(said).count("<image>") == 0 and one["conversations"][0]["value"].startswith("<image>\n")
        with Image.open(tmp_path / one["image"]) as image:
            assert image.size == (128, 128)
        assert other["images"] == [one["image"]]
    again = run(dataset_folder, tmp_path / "trl.jsonl")
    assert again.exit_code == 2 and "trl.jsonl" in again.output


def test_fakeclue_is_read_with_the_label_of_forged_pictures(tmp_path: Path, pictures: Path) -> None:
    source = tmp_path / "fakeclue.json"
    source.write_text(json.dumps(FAKECLUE))
    command = (source, tmp_path / "out.jsonl", "--from", "fakeclue", "--to", "trl", "--images", pictures)
    for words in ((), ("--forged-label", 1)):  # the answers contradict the label 1
        done = run(*command, *words)
        assert done.exit_code == 2 and "--forged-label" in done.stderr
    done = run(*command, "--forged-label", 0)
    assert done.exit_code == 0 and done.output.split("\n")[:3] == ["bona_fide: 1", "forged: 1", "no picture: 1"]
    forged, bona_fide = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert (forged["label"], bona_fide["label"]) == ("forged", "bona_fide")
    assert forged["messages"][0] == {"role": "user", "content": "Does the image look real or fake?"}
    assert Path(bona_fide["images"][0]).is_file()


def test_dd_vqa_is_read_and_the_original_is_bona_fide(tmp_path: Path, pictures: Path) -> None:
    source = tmp_path / "dd-vqa.json"
    source.write_text(json.dumps(DD_VQA))
    done = run(source, tmp_path / "out.jsonl", "--from", "dd-vqa", "--to", "trl", "--images", pictures)
    assert done.exit_code == 0, done.output
    forged, bona_fide = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert (forged["label"], bona_fide["label"]) == ("forged", "bona_fide")
    answers = [message["content"] for message in forged["messages"]][1::2]
    assert answers == ["The image looks fake.", "The nose looks fake."]


@pytest.mark.parametrize(
    ("content", "form", "named"),
    [
        ("{", "dd-vqa", "JSON"),
        ("[]", "dd-vqa", "DD-VQA"),
        ('{"5_1": {"0": {"question": "?"}}}', "dd-vqa", "5_1"),
        ('[{"image": "a.png"}]', "fakeclue", "entry 0"),
        ('[{"image": "a.png", "label": 1e400, "conversations": []}]', "fakeclue", "entry 0"),
        ("[" * 100_000, "fakeclue", "JSON"),
        ("[]", "fakeclue", "no conversation"),
        ("{}", "dd-vqa", "no conversation"),
        ('{"5_114": {"0": {"question": "?", "answer": "\\ud800"}}}', "dd-vqa", "5_114"),
    ],
)
def test_a_wrong_file_gives_one_line(content: str, form: str, named: str, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "in.json").write_text(content)
    words = ("--from", form, "--images", pictures, *(("--forged-label", 1) if form == "fakeclue" else ()))
    done = run(tmp_path / "in.json", tmp_path / "out.json", *words)
    assert done.exit_code == 2 and named in done.output and not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("change", "named"), [("drop", "no column 'qa'"), ("null", "qa is null"), ("empty", "no conversation")]
)
def test_a_dataset_without_conversations_is_named(
    change: str, named: str, dataset_folder: Path, tmp_path: Path
) -> None:
    (folder := tmp_path / "dfa-instruct" / "data").mkdir(parents=True)
    for path in dataset_folder.glob("data/*"):
        table = pq.read_table(path)
        at = table.column_names.index("qa")
        nulls = pa.nulls(len(table), table.schema.field("qa").type)
        changed = {"drop": table.drop_columns(["qa"]), "null": table.set_column(at, "qa", nulls)}
        pq.write_table(changed.get(change, table.slice(0, 0)), folder / path.name)
    done = run(folder.parent, tmp_path / "out" / "out.json")
    assert done.exit_code == 2 and str(folder.parent) in done.stderr and named in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("where", ["secret.txt", "{tmp}/secret.txt", "../secret.txt", "deepfake/fake/a.jpg"])
def test_only_pictures_of_the_folder_are_taken(where: str, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "secret.txt").touch()
    source = tmp_path / "fakeclue.json"
    source.write_text(json.dumps([FAKECLUE[0] | {"image": where.format(tmp=tmp_path)}]))
    done = run(source, tmp_path / "out.json", "--from", "fakeclue", "--images", pictures, "--forged-label", 0)
    assert done.output == ("forged: 1\n" if where.endswith("jpg") else "no picture: 1\n")


def test_pictures_must_be_named(tmp_path: Path) -> None:
    done = run(tmp_path / "labels.json", tmp_path / "out.json", "--from", "dd-vqa")
    assert done.exit_code == 2 and "--images" in done.stderr


@pytest.mark.parametrize("option", ["--images", "--forged-label"])
def test_an_option_that_a_dataset_folder_does_not_need_is_refused(
    option: str, tmp_path: Path, dataset_folder: Path
) -> None:
    done = run(dataset_folder, tmp_path / "out.json", option, tmp_path if option == "--images" else 1)
    assert done.exit_code == 2 and option in done.stderr and not (tmp_path / "out.json").exists()
