"""The quickstart: its outputs, and its errors for bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from datasets import load_dataset
from layouts import portraits, write_files, write_video
from PIL import Image
from typer.testing import CliRunner

from dfa_instruct.sources.registry import open_sources
from modeling_dfa_gpt.cli import app
from modeling_dfa_gpt.launch import RECIPES
from modeling_dfa_gpt.quickstart import OUTPUTS, build_dataset, quickstart
from modeling_dfa_gpt.quickstart_recipe import Given, quickstart_recipe

METRICS = {
    "dfa_bench_dfd": {"acc", "err", "acer", "invalid"},
    "dfa_bench_dfc": {"acc", "invalid"},
    "dfa_bench_ad": {"rouge_l", "rouge_l_forged"},
    "dfa_bench_dft": {"acc", "invalid"},
}


def test_a_small_run_writes_all_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfa_instruct.construction.recipe.SAMPLE_IDENTITIES", 20)
    monkeypatch.setattr("dfa_instruct.construction.recipe.SAMPLE_PICTURES", 3)
    monkeypatch.setattr("modeling_dfa_gpt.quickstart.BENCH_IMAGES", 12)
    monkeypatch.delenv("DFA_INSTRUCT_DIR", raising=False)
    for recipe in ("dfa-gpt-tiny/sft", "accelerate_configs/cpu"):
        text = (RECIPES / f"{recipe}.yaml").read_text()
        (tmp_path / recipe).parent.mkdir(exist_ok=True)
        (tmp_path / f"{recipe}.yaml").write_text(re.sub(r"max_steps: \d+", "max_steps: 4", text))
    monkeypatch.setattr("modeling_dfa_gpt.launch.RECIPES", tmp_path)
    output = tmp_path / "run"
    quickstart(Given(), output, seed=1)
    assert {p.name for p in output.iterdir()} == OUTPUTS - {"views"}
    results = json.loads((output / "results.json").read_text())
    for figures in (
        results["tasks"],
        *(results["baselines"][b] for b in ("majority", "image_blind", "images_swapped")),
    ):
        assert {task: set(values) for task, values in figures.items()} == METRICS
        assert all(0 <= v <= 100 for values in figures.values() for v in values.values())
    assert 3.5e6 < results["weights"] < 4.5e6 and isinstance(results["warnings"], list)
    detection = results["tasks"]["dfa_bench_dfd"]
    assert detection["acc"] + detection["err"] == pytest.approx(100, abs=0.02)
    assert results["counts"]["images"]["train"] == len(
        load_dataset("dfa-instruct", data_dir=str(output / "dfa-instruct"), split="train")
    )
    conversation = results["conversation"]
    assert set(conversation) == {"templates", "paraphrases", "image_blind", "images_swapped"}
    assert all(0 <= figures["right_kind"] <= 100 for figures in conversation.values())
    assert 0 < results["calibration"]["tested"]["people"] <= results["counts"]["identities"]["test"]
    assert json.loads((output / "adapter" / "calibration.json").read_text()) == results["calibration"]
    conversations = (output / "conversations.jsonl").read_text().splitlines()
    assert len(conversations) == 2 * results["counts"]["bench"]["images"]
    report = (output / "report.md").read_text()
    assert "dfa-gpt chat" in report
    for name in ("faces", "loss", "confusion", "map", "conversation_1", "conversation_5"):
        assert Image.open(output / "images" / f"{name}.png").size > (100, 100)
        assert f"images/{name}.png" in report
    card = (output / "adapter" / "README.md").read_text()
    assert f"on {results['counts']['bench']['images']} faces" in card and "| chance |" in card
    assert "not measured yet" not in card.lower()
    assert not list(output.rglob("*.bin"))

    (output / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        quickstart(Given(), output, seed=1)
    assert (output / "results.json").is_file()


@pytest.mark.parametrize("case", ["absent", "empty", "texts", "landmarker"])
def test_bad_input_is_a_one_line_error(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "faces"
    if case != "absent":
        folder.mkdir()
    if case == "texts":
        (folder / "a.txt").write_text("no picture")
    if case == "landmarker":
        Image.new("RGB", (200, 200)).save(folder / "a.png")
        monkeypatch.setenv("DFA_FACE_LANDMARKER", str(tmp_path / "none.task"))
    expected = "DFA_FACE_LANDMARKER" if case == "landmarker" else str(folder)
    done = CliRunner().invoke(app, ["quickstart", "--bona-fide", str(folder), "--output", str(tmp_path / "out")])
    assert done.exit_code == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and expected in errors[0]
    assert not (tmp_path / "out").exists()


@pytest.fixture
def faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bona fide and forged files, and folders of forged faces with a mistake."""
    monkeypatch.chdir(tmp_path)
    techniques = ["simswap/ada/1.png", "Deepfakes/ben.png", "face_editing-my_tool/ada/1.png", "face_swapping/cem.png"]
    write_files(tmp_path, ["bona_fide/ada/1.png", "bona_fide/ada/2.png", "bona_fide/ben.png", "bona_fide/cem.png"])
    write_files(tmp_path / "forged", techniques)
    write_files(
        tmp_path, ["misspelt/simswpa/1.png", "flat/1.png", "bona/bona_fide/1.png", "wrong/face_editing-simswap/1.png"]
    )
    (tmp_path / "none").mkdir()
    (tmp_path / "empty" / "Deepfakes").mkdir(parents=True)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "simswap").symlink_to(tmp_path / "forged" / "simswap")
    return tmp_path


CATEGORIES = "face_swapping, face_reenactment, face_editing, entire_face_synthesis"
SUBFOLDERS = "expected a folder with a subfolder for each technique"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--forged misspelt", f"misspelt/simswpa: .* CATEGORY-TECHNIQUE.* {CATEGORIES}; did you mean 'simswap'"),
        ("--forged bona", f"bona/bona_fide: expected a folder named as a known technique .*{CATEGORIES}"),
        ("--forged wrong", "simswap is face_swapping, not face_editing"),
        ("--forged flat", f"flat: {SUBFOLDERS}, but it has 1.png"),
        ("--forged none", f"none: {SUBFOLDERS}, but it has none"),
        ("--forged empty", "empty/Deepfakes: no image and no video in it"),
        ("--forged linked", f"linked: {SUBFOLDERS}, but it has simswap .a link"),
        ("--forged absent", f"absent: {SUBFOLDERS}, or a CSV"),
        ("--forged forged/Deepfakes/ben.png", f"ben.png: {SUBFOLDERS}, or a CSV"),
        ("--forged absent.csv", "absent.csv: no such file; expected a CSV"),
        ("--forged bona_fide/ada", "bona_fide/ada is in bona_fide, which must hold"),
        ("--synthesized bona_fide", "bona_fide is in bona_fide, which must hold"),
        ("--faceforensics forged", "--faceforensics .* no other faces"),
    ],
)
@pytest.mark.usefixtures("faces")
def test_wrong_forged_faces_are_a_one_line_error(given: str, message: str) -> None:
    done = CliRunner().invoke(app, ["quickstart", "--bona-fide", "bona_fide", *given.split(), "--output", "out"])
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.exit_code == 2 and len(errors) == 1 and re.search(message, errors[0]), done.stderr
    assert not Path("out").exists()


@pytest.mark.usefixtures("faces")
def test_forged_faces_need_bona_fide_faces() -> None:
    done = CliRunner().invoke(app, ["quickstart", "--forged", "forged", "--output", "out"])
    assert done.exit_code == 2 and "--bona-fide" in done.stderr and not Path("out").exists()


def listed(given: Given, output: Path) -> dict[str, tuple[str, str | None, tuple[str, ...], bool]]:
    """Return what the recipe of a quickstart reads: file → category, technique, identities, whether it has a pair."""
    sources = open_sources(quickstart_recipe(given, output, seed=0).sources)
    return {
        f"{item.source}/{item.source_path}": (item.category, item.technique, item.identities, item.pair is not None)
        for source in sources
        for item in source.items()
    }


def test_a_subfolder_names_category_and_technique_and_people_are_the_same(faces: Path) -> None:
    found = listed(Given(faces / "bona_fide", forged=faces / "forged"), faces / "out")
    ada, ben, cem = (("bona_fide/ada",), ("bona_fide/ben",), ("bona_fide/cem",))
    assert found == {
        "bona_fide/ada/1.png": ("bona_fide", None, ada, False),
        "bona_fide/ada/2.png": ("bona_fide", None, ada, False),
        "bona_fide/ben.png": ("bona_fide", None, ben, False),
        "bona_fide/cem.png": ("bona_fide", None, cem, False),
        "Deepfakes/ben.png": ("face_swapping", "Deepfakes", ben, False),
        "simswap/ada/1.png": ("face_swapping", "simswap", ada, False),
        "face_editing-my_tool/ada/1.png": ("face_editing", "my_tool", ada, False),
        "face_swapping/cem.png": ("face_swapping", "face_swapping", cem, False),
    }


def test_a_csv_names_bona_fide_and_forged_faces(faces: Path) -> None:
    rows = ["bona_fide/ben.png,real,,ben,", "forged/Deepfakes/ben.png,fake,Deepfakes,cem,bona_fide/ben.png"]
    (faces / "faces.csv").write_text("\n".join(["file,label,technique,identity,pair", *rows]))
    assert listed(Given(forged=faces / "faces.csv"), faces / "out") == {
        "forged/bona_fide/ben.png": ("bona_fide", None, ("bona_fide/ben",), False),
        "forged/forged/Deepfakes/ben.png": ("face_swapping", "Deepfakes", ("bona_fide/ben", "bona_fide/cem"), True),
    }


@pytest.mark.parametrize("compression", ["c23", "c40"])
def test_faceforensics_as_it_lies_on_disk(compression: str, tmp_path: Path) -> None:
    for name in ("000", "003"):
        write_video(tmp_path / f"original_sequences/youtube/{compression}/videos/{name}.mp4", 40)
    write_video(tmp_path / f"manipulated_sequences/Deepfakes/{compression}/videos/000_003.mp4", 40)
    recipe = quickstart_recipe(Given(faceforensics=tmp_path), tmp_path / "out", seed=0)
    [source] = open_sources(recipe.sources)
    found = [(item.category, item.identities, item.pair is not None) for item in source.items()]
    bona_fide = [("bona_fide", (f"ff/{name}",), False) for name in ("000", "003") for _ in range(32)]
    assert found == bona_fide + [("face_swapping", ("ff/000", "ff/003"), True)] * 32
    assert not recipe.forgeries_per_face


@pytest.mark.usefixtures("landmarker")
def test_a_test_split_with_few_faces_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bona_fide").mkdir()
    (tmp_path / "forged" / "face_editing-mirror").mkdir(parents=True)
    for number, portrait in enumerate(portraits(14)):
        Image.fromarray(portrait).save(tmp_path / "bona_fide" / f"{number}.png")
        Image.fromarray(portrait[:, ::-1] if number else portrait).save(
            tmp_path / "forged" / "face_editing-mirror" / f"{number}.png"
        )
    with pytest.raises(
        ValueError, match=r"test split has \d bona fide and \d forged faces; expected at least 10 of each"
    ):
        build_dataset(Given(tmp_path / "bona_fide", forged=tmp_path / "forged"), tmp_path / "out", seed=0)
    splits = load_dataset("dfa-instruct", data_dir=str(tmp_path / "out" / "dfa-instruct"))
    people = {split: {name for names in rows["identities"] for name in names} for split, rows in splits.items()}
    assert sum(len(names) for names in people.values()) == len(set().union(*people.values())) == 14
    rows = [row for rows in splits.values() for row in rows.remove_columns("image")]
    assert sum(row["technique"] == "mirror" for row in rows) == 13  # without the bona fide picture among the forged
    assert "the same pixels as another face" in (tmp_path / "out" / "dfa-instruct.dropped.csv").read_text()
