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


def test_a_dataset_goes_out_to_llava_and_trl(tmp_path: Path, dataset_folder: Path) -> None:
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
    assert again.exit_code == 2 and "is there already" in again.output


def test_fakeclue_comes_in_with_its_polarity_stated(tmp_path: Path, pictures: Path) -> None:
    source = tmp_path / "fakeclue.json"
    source.write_text(json.dumps(FAKECLUE))
    command = (source, tmp_path / "out.jsonl", "--from", "fakeclue", "--to", "trl", "--images", pictures)
    assert "--forged-label: state" in run(*command).output
    assert "say the contrary of its labels" in run(*command, "--forged-label", 1).output
    done = run(*command, "--forged-label", 0)
    assert done.exit_code == 0 and done.output.split("\n")[:3] == ["bona_fide: 1", "forged: 1", "no picture: 1"]
    forged, bona_fide = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert (forged["label"], bona_fide["label"]) == ("forged", "bona_fide")
    assert forged["messages"][0] == {"role": "user", "content": "Does the image look real or fake?"}
    assert Path(bona_fide["images"][0]).is_file()


def test_dd_vqa_comes_in_and_the_original_is_bona_fide(tmp_path: Path, pictures: Path) -> None:
    source = tmp_path / "dd-vqa.json"
    source.write_text(json.dumps(DD_VQA))
    done = run(source, tmp_path / "out.jsonl", "--from", "dd-vqa", "--to", "trl", "--images", pictures)
    assert done.exit_code == 0, done.output
    forged, bona_fide = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    assert (forged["label"], bona_fide["label"]) == ("forged", "bona_fide")
    assert [message["content"] for message in forged["messages"]][1::2] == [
        "The image looks fake.",
        "The nose looks fake.",
    ]


@pytest.mark.parametrize(
    ("content", "form", "message"),
    [
        ("{", "dd-vqa", "no JSON"),
        ("[]", "dd-vqa", "expected DD-VQA's mapping"),
        ('{"5_1": {"0": {"question": "?"}}}', "dd-vqa", "5_1 has not DD-VQA's form"),
        ('[{"image": "a.png"}]', "fakeclue", "entry 0 has not FakeClue's form"),
        ('[{"image": "a.png", "label": 1e400, "conversations": []}]', "fakeclue", "entry 0 has not FakeClue's form"),
        ("[" * 100_000, "fakeclue", "no JSON"),
        ("[]", "fakeclue", "in.json: no conversation in it"),
        ("{}", "dd-vqa", "in.json: no conversation in it"),
        ('{"5_114": {"0": {"question": "?", "answer": "\\ud800"}}}', "dd-vqa", "5_114: its text is no Unicode"),
    ],
)
def test_another_form_is_said_in_one_line(
    content: str, form: str, message: str, tmp_path: Path, pictures: Path
) -> None:
    (tmp_path / "in.json").write_text(content)
    words = ("--from", form, "--images", pictures, *(("--forged-label", 1) if form == "fakeclue" else ()))
    done = run(tmp_path / "in.json", tmp_path / "out.json", *words)
    assert done.exit_code == 2 and message in done.output and not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("change", ["drop", "null", "empty"])
def test_a_dataset_without_what_is_converted_is_named(change: str, dataset_folder: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "dfa-instruct" / "data").mkdir(parents=True)
    for path in dataset_folder.glob("data/*"):
        table = pq.read_table(path)
        at = table.column_names.index("qa")
        nulls = pa.nulls(len(table), table.schema.field("qa").type)
        changed = {"drop": table.drop_columns(["qa"]), "null": table.set_column(at, "qa", nulls)}
        pq.write_table(changed.get(change, table.slice(0, 0)), folder / path.name)
    done = run(folder.parent, tmp_path / "out" / "out.json")
    said = {"drop": "no column 'qa'", "null": "qa is null", "empty": f"{folder.parent}: no conversation in it"}
    assert done.exit_code == 2 and said[change] in done.stderr and not (tmp_path / "out").exists()


def test_a_file_that_is_no_picture_of_the_folder_is_not_taken(tmp_path: Path, pictures: Path) -> None:
    for where in ("secret.txt", str(tmp_path / "secret.txt"), "../secret.txt", "deepfake/fake/a.jpg"):
        source = tmp_path / "fakeclue.json"
        (tmp_path / "secret.txt").touch()
        source.write_text(json.dumps([FAKECLUE[0] | {"image": where}]))
        words = ("--from", "fakeclue", "--images", pictures, "--forged-label", 0)
        done = run(source, tmp_path / f"{Path(where).stem}.{len(where)}.json", *words)
        assert done.output == ("forged: 1\n" if where.endswith("jpg") else "no picture: 1\n")


def test_pictures_that_are_not_named_are_asked_for(tmp_path: Path) -> None:
    done = run(tmp_path / "labels.json", tmp_path / "out.json", "--from", "dd-vqa")
    assert done.exit_code == 2 and "--images: expected the folder of the pictures, not nothing" in done.stderr


@pytest.mark.parametrize("option", ["--images", "--forged-label"])
def test_what_a_dataset_folder_does_not_need_is_refused(option: str, tmp_path: Path, dataset_folder: Path) -> None:
    done = run(dataset_folder, tmp_path / "out.json", option, tmp_path if option == "--images" else 1)
    assert done.exit_code == 2 and option in done.stderr and not (tmp_path / "out.json").exists()
