"""The bases in the package: their files, their training data, and that they can be recreated."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoProcessor

from dfa_instruct.construction.recipe import SAMPLE_IDENTITIES, read_recipe, sample_recipe
from dfa_instruct.sources.registry import open_sources
from modeling_dfa_gpt.bases import PHOTO_BASE, TINY_BASE
from modeling_dfa_gpt.bases.tiny import make_tiny_base
from modeling_dfa_gpt.preflight import check_base, check_template

RECIPES = Path(__file__).parents[3] / "recipes"
RECIPE = RECIPES / "dfa-gpt-tiny" / "dfa-instruct.yaml"


@pytest.mark.parametrize("base", [TINY_BASE, PHOTO_BASE], ids=["tiny", "photo"])
def test_the_bases_are_complete_and_in_half_precision(base: Path) -> None:
    assert sum(file.stat().st_size for file in base.iterdir()) < 8_000_000
    assert not {file.suffix for file in base.iterdir()} & {".bin", ".pt", ".pkl"}
    with safe_open(base / "model.safetensors", "pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"torch.float16"}  # noqa: SIM118
    model, processor = AutoModelForImageTextToText.from_pretrained(base), AutoProcessor.from_pretrained(base)
    check_base(str(base), model.config, processor)
    check_template(processor, [processor.tokenizer.eos_token])


@pytest.mark.parametrize(("base", "command"), [(TINY_BASE, "--data"), (PHOTO_BASE, "--photographs --data")])
def test_their_cards_state_the_training_and_the_data(base: Path, command: str) -> None:
    card = (base / "README.md").read_text(encoding="utf-8")
    settings = yaml.safe_load((RECIPES / base.name.removesuffix("-base") / "pretrain.yaml").read_text())
    assert f"dfa-gpt pretrain {command}" in card and "SHA-256" in card
    assert f"{settings['max_steps']} steps of" in card


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_no_quickstart_draws_a_person_of_the_training_data(seed: int) -> None:
    recipe = read_recipe(RECIPE)
    pretrained = {item.identities[0] for source in open_sources(recipe.sources) for item in source.items()}
    drawn = {item.identities[0] for s in open_sources(sample_recipe(Path("x"), seed).sources) for item in s.items()}
    assert len(drawn) == SAMPLE_IDENTITIES and len(pretrained) == recipe.sources[0]["identities"]
    assert not pretrained & drawn


def test_people_with_other_numbers_look_different() -> None:
    from dfa_instruct.sources.portraits.drawing import draw_person

    number = read_recipe(RECIPE).sources[0]["first"]
    faces = [draw_person(identity, 1, 64, seed)[0].face_id for identity in (0, number) for seed in (0, 1)]
    assert len(set(faces)) == 4


def test_a_base_can_be_recreated(dataset_folder: Path, tmp_path: Path) -> None:
    train = load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")
    make_tiny_base(train, tmp_path / "base", tower_steps=2)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "base")
    shipped = AutoModelForImageTextToText.from_pretrained(TINY_BASE)
    assert {n: p.shape for n, p in model.named_parameters() if "embed" not in n} == {
        n: p.shape for n, p in shipped.named_parameters() if "embed" not in n
    }
