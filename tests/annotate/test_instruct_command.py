"""Step 3 from what a language model wrote: annotate, instruct, verify, load."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import annotate, run
from datasets import load_dataset
from misbehaving import CLAIMS, TURNS, Misbehaviour, State, serving

from dfa_instruct.annotate.store import Store, store_path
from dfa_instruct.instruct import templates


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob("data/*.parquet"))
    return [row for path in paths for row in pq.read_table(path).drop_columns(["image"]).to_pylist()]


@pytest.fixture(scope="module")
def annotated(dataset_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder with a store of descriptions of all forgeries, and of conversations about all faces."""
    folder = tmp_path_factory.mktemp("annotated") / "dfa-instruct"
    shutil.copytree(dataset_folder, folder)
    with pytest.MonkeyPatch.context() as patch, serving(State(Misbehaviour())) as address:
        patch.setenv("OPENAI_API_KEY", "sk-fake")
        for ability in ("ad", "fc"):
            done = annotate(folder, address, ability=ability)
            assert done.exit_code == 0, done.output
    return folder


def test_with_no_language_model_the_same_bytes_are_written(dataset_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset_folder, tmp_path / "dfa-instruct")
    assert run("instruct", tmp_path / "dfa-instruct").exit_code == 0
    assert content(tmp_path / "dfa-instruct") == content(dataset_folder)
    assert run("instruct", tmp_path / "dfa-instruct", "--seed", 1).exit_code == 0
    assert content(tmp_path / "dfa-instruct") != content(dataset_folder)


def test_templates_of_ones_own_are_asked_and_answered_in_and_verified(dataset_folder: Path, tmp_path: Path) -> None:
    own, output = Path(shutil.copytree(Path(templates.__file__).parent, tmp_path / "own")), tmp_path / "dfa-instruct"
    for path in own.glob("*.yaml"):
        path.write_text(re.sub("This face is", "Dieses Gesicht ist", path.read_text()))
    assert run("instruct", dataset_folder, "--output", output, "--templates", own).exit_code == 0
    answers = {pair["answer"] for row in rows(output) for pair in row["qa"] if pair["ability"] == "df_d"}
    assert answers > {"Dieses Gesicht ist forged.", "Dieses Gesicht ist bona fide."}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"sources: [{{kind: sample, identities: 20, pictures: 2}}]\nsize: 128\ntemplates: {own}\n")
    assert run("verify", output, "--recipe", recipe).exit_code == 0
    assert run("verify", output).exit_code == 1
    (own / "ad.yaml").unlink()
    done = run("instruct", dataset_folder, "--output", output, "--templates", own)
    assert done.exit_code == 2 and "ad.yaml: no such file" in done.output.replace("\n", "")


def test_rows_name_their_authors_and_the_promises_hold(annotated: Path, tmp_path: Path) -> None:
    output = tmp_path / "asked"
    done = run("instruct", annotated, "--output", output)
    assert done.exit_code == 0, done.output
    assert run("verify", output).exit_code == 0
    assert "| free conversation | tiny, fc 1 |" in (output / "README.md").read_text()
    found = rows(output)
    by = Counter((row["label"], row["ad_by"].partition(",")[0]) for row in found)
    assert by["bona_fide", "tiny"] == 0 and by["forged", "tiny"] > 10
    assert {row["fc_by"] for row in found} == {"tiny, fc 1"}
    for row in found:
        answers = {pair["ability"]: pair["answer"] for pair in row["qa"]}
        turns = [(pair["question"], pair["answer"]) for pair in row["qa"] if pair["ability"] == "fc"]
        assert turns == [(turn["question"], turn["answer"]) for turn in TURNS]
        if row["ad_by"] == "measured":
            assert row["grounding"] is None
        else:
            assert re.match(r"ad_(alone|compared) 1", row["ad_by"].partition(", ")[2])
            assert [f"**{name}" in answers["ad"] for name in ("Mouth", "Eyes", "Cheeks")].count(True) == len(
                row["findings"]
            )
            assert all(finding["sentence"] in answers["ad"] for finding in row["findings"])
            assert row["grounding"] is None or 0 <= row["grounding"] <= 1
        assert all(question["answer"] == answers["ad"] for question in row["bench"] if question["ability"] == "ad")
    loaded = load_dataset("dfa-instruct", "fc", data_dir=str(output), split="test")
    assert loaded[0]["answer"] == TURNS[0]["answer"]


def test_contradicted_claims_are_kept_dropped_or_left_for_review(annotated: Path, tmp_path: Path) -> None:
    with Store(store_path(annotated)) as store:
        verdicts, score, descriptions = store.count_verdicts("tiny")
    assert verdicts["contradicted"] > 5 and verdicts["borne_out"] > 5 and 0 < score < 1 and descriptions > 10
    by_policy = {}
    for policy in ("keep", "drop", "review"):
        assert run("instruct", annotated, "--output", tmp_path / policy, "--ungrounded", policy).exit_code == 0
        assert run("verify", tmp_path / policy).exit_code == 0
        by_policy[policy] = {row["face_id"]: row for row in rows(tmp_path / policy) if row["label"] == "forged"}
    for face_id, kept in by_policy["keep"].items():
        assert len(kept["findings"]) == len({claim["region"] for claim in CLAIMS})
        dropped, waiting = by_policy["drop"][face_id], by_policy["review"][face_id]
        if waiting["ad_by"] == "measured":
            assert len(dropped["findings"]) < 3 or dropped["ad_by"] == "measured"
        else:
            assert waiting["findings"] == dropped["findings"] == kept["findings"]


def test_verify_finds_findings_that_do_not_match_the_description(annotated: Path, tmp_path: Path) -> None:
    output = tmp_path / "asked"
    run("instruct", annotated, "--output", output)
    path = max(output.glob("data/train-*.parquet"))
    table = pq.read_table(path)
    broken = table.to_pylist()
    row = next(row for row in broken if row["ad_by"] != "measured" and len(row["findings"]) > 0)
    row["findings"][0]["sentence"] = "The mouth is fine."
    other = next(row for row in broken if row["ad_by"] == "measured")
    other["fc_by"] = "another, fc 1"
    pq.write_table(type(table).from_pylist(broken, schema=table.schema), path)
    done = run("verify", output)
    assert done.exit_code == 1 and "another, fc 1" in done.output


@pytest.mark.parametrize("step", ["half_emoji", "unprintable"])
def test_unprintable_characters_stop_neither_command(
    step: str, dataset_folder: Path, tmp_path: Path, server: Any
) -> None:
    folder = shutil.copytree(dataset_folder, tmp_path / "faces")
    with server(plan=[step]) as (address, _):
        assert annotate(folder, address, "--limit", 2).exit_code == 0
    assert run("instruct", folder, "--ungrounded", "keep").exit_code == 0
    written = [row for row in rows(folder) if row["ad_by"].startswith("tiny")]
    assert written and all(finding["sentence"].isprintable() for row in written for finding in row["findings"])


def test_a_missing_store_or_dataset_is_named(dataset_folder: Path, tmp_path: Path) -> None:
    done = run("instruct", dataset_folder, "--output", tmp_path / "new", "--store", tmp_path / "none.sqlite")
    assert done.exit_code == 2 and "no such store" in done.output and not (tmp_path / "new").exists()
    done = run("instruct", tmp_path, "--output", tmp_path / "new")
    assert done.exit_code == 2 and "no dataset folder" in done.output
