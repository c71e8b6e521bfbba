"""Recipes: those that are shipped, and what a wrong one is told."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dfa_instruct.construction.pipeline import build
from dfa_instruct.construction.recipe import Recipe, read_recipe, sample_recipe
from dfa_instruct.yaml_file import read_mapping

RECIPES = Path(__file__).parents[2] / "recipes" / "dfa-instruct"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_whole_and_say_how_they_run(path: Path) -> None:
    recipe = read_recipe(path)
    assert f"dfa-instruct build recipes/dfa-instruct/{path.name} --output {recipe.output}" in path.read_text()


def test_the_sample_is_what_its_recipe_says() -> None:
    assert read_recipe(RECIPES / "sample.yaml", Path("here")) == sample_recipe(Path("here"))


WRONG = {
    "siez: 128": "unknown key 'siez'; did you mean 'size'?",
    "size: 3": "size: Input should be greater than or equal to 32, not 3",
    "least_resolved: 2": "least_resolved.default: Input should be less than or equal to 1, not 2",
    "least_resolved: {simswpa: 0.5}": "least_resolved: unknown technique 'simswpa'; did you mean 'simswap'?",
    "several_faces: lagest": "several_faces: Input should be 'largest', 'all' or 'fail', not 'lagest'",
    "shares: {train: 0.5, validation: 0.1, test: 0.2}": "a sum of 1",
    "techniques: [lipss]": "did you mean 'lips'?",
    "techniques: [{category: face_editing}]": "expected a name",
    "techniques: [{name: [lips]}]": "expected a name or a mapping with a `name`, not {'name': ['lips']}",
    "techniques: [{name: lips, size: 64}]": "technique lips: its size is the recipe's; size was given",
    "techniques: []\nforgeries_per_face: 1": "forgeries_per_face is 1, and techniques names none",
    "official_splits: nowhere": "official_splits: nowhere/train.json: expected a list of pairs of video numbers",
    "sources: [{kind: foldr, root: .}]": "did you mean 'folder'?",
    "sources: [{kind: folder, rot: .}]": "did you mean 'root'?",
    "sources: [{kind: folder, root: nowhere}]": "nowhere: no such folder",
    "sources: [{kind: [folder], root: .}]": "unknown source \"['folder']\"",
    "sources: [{kind: folder, root: [a]}]": "source folder: root: Input is not a valid path, not ['a']",
    "sources: [{kind: folder, root: ~who/a}]": "source folder: one of its paths begins with ~",
    "sources: [{kind: folder, root: ., frames: 0}]": "source folder: frames and interval must be 1 or more",
    "sources: [": "not valid YAML",
    "- a": "expected a mapping",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_recipe_is_refused_before_any_work(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text if "sources" in text or text == "- a" else f"sources: [{{kind: sample}}]\n{text}\n")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        build(read_recipe(path, tmp_path / "out" / "dfa-instruct"))
    assert WRONG[text] in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_sources_of_which_no_picture_is_left_are_refused(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "clip.mp4").write_text("no video")
    recipe = Recipe([{"kind": "folder", "root": str(tmp_path / "media")}], least_resolved=0, detect_cropped=False)
    with pytest.raises(ValueError, match=r"no picture is left .* named in .*dfa-instruct\.dropped\.csv"):
        build(replace(recipe, output=str(tmp_path / "dfa-instruct")), workers=1)


def test_a_rate_may_be_set_for_a_technique(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("sources: [{kind: df40, root: .}]\nleast_resolved: {DaGAN: 0.5, stylegan2: 0.25}\n")
    recipe = read_recipe(path)
    asked = ("danet", "StyleGAN2", "simswap", "bona_fide")
    assert [recipe.least_resolved_of(technique) for technique in asked] == [0.5, 0.25, 0.9, 0.9]


def test_keys_stand_once_but_a_merged_mapping_may_set_one_anew(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n")
    assert read_mapping(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}
    path.write_text("size: 128\nsize: 256\n")
    with pytest.raises(ValueError, match="'size' appears twice"):
        read_mapping(path)
    with pytest.raises(FileNotFoundError, match="no such recipe"):
        read_mapping(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("executor", "arguments", "message"),
    [
        ("slurm", "{time: '1:00:00'}", "slurm: needs 'partition'"),
        ("slurm", "{time: '1:00:00', partition: cpu, partitin: x}", "did you mean 'partition'?"),
        ("ray", "{cpus: 2}", "unknown argument 'cpus'"),
    ],
)
def test_the_executors_arguments_are_checked(executor: str, arguments: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"sources: [{{kind: sample}}]\n{executor}: {arguments}\n")
    with pytest.raises(ValueError, match="^" + executor) as caught:
        build(read_recipe(path, tmp_path / "dfa-instruct"), executor=executor)
    assert message in str(caught.value)


def test_the_command_says_it_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from dfa_instruct.cli import app; app()", "build", str(tmp_path / "none.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "none.yaml" in done.stderr.splitlines()[-1] and done.stderr.startswith("error:")
