"""A training recipe: its keys and values, and the choice of abilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_recipe import tiny_recipe

from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.recipe import parse_recipe, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
TRAININGS = sorted(path for path in RECIPES.glob("dfa-gpt-*/*.yaml") if path.stem != "dfa-instruct")


@pytest.mark.parametrize("recipe", TRAININGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_recipes_have_known_keys(recipe: Path) -> None:
    read_recipe(recipe, rewarded=recipe.stem == "grpo")


def test_an_unknown_key_without_a_similar_one_gets_no_suggestion(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("qqqq: 1\n")
    with pytest.raises(RecipeError, match=r"recipe\.yaml: unknown key 'qqqq'$"):
        read_recipe(recipe)


@pytest.mark.parametrize(
    ("abilities", "config"),
    [
        (["df_d"], "conversations_d"),
        (["df_d", "df_c"], "conversations_d_c"),
        (["ad", "df_d", "df_c"], "conversations_d_c_ad"),
        (["df_d", "df_c", "ad", "fc"], "conversations"),
    ],
)
def test_abilities_choose_the_config_and_change_nothing_else(abilities: list[str], config: str, base: Path) -> None:
    command = ["--config", str(RECIPES / "dfa-gpt-small" / "sft.yaml"), "--model_name_or_path", str(base)]
    every, chosen = (parse_recipe([*command, *more]).settings for more in ([], ["--abilities", *abilities]))
    assert every["datasets"][0]["name"] == "conversations"
    assert chosen["datasets"] == [{**every["datasets"][0], "name": config}]
    assert {**chosen, "datasets": [], "abilities": []} == {**every, "datasets": [], "abilities": []}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lerning_rate": 1}, r"unknown key 'lerning_rate'; did you mean 'learning_rate'"),
        ({"datasets": [{"pth": "dfa-instruct"}]}, r"datasets: unknown key 'pth'; did you mean 'path'"),
        ({"datasets": ["dfa-instruct"]}, "datasets: expected a list"),
        ({"datasets": []}, "datasets is missing"),
        ({"datasets": [{"name": "df_d"}]}, "datasets: path"),
        ({"abilities": ["df_d", "df_x"]}, "abilities: unknown ability 'df_x'; did you mean 'df_"),
        ({"abilities": ["df_d", "fc"]}, r"abilities: expected .* or \[df_d\] or .*, not \[df_d, fc\]"),
        ({"abilities": "df_d"}, "abilities: expected a list of df_d, df_c, ad, fc, not 'df_d'"),
        ({"abilities": ["df_d"], "datasets": [{"path": "parquet"}]}, "abilities: expected the dataset dfa-instruct"),
        ({"datasets": [{"path": "dfa-instruct", "fraction": 2}]}, "fraction: expected a number above 0 and up to 1"),
        ({"datasets": [{"path": "dfa-instruct", "fraction": "half"}]}, "fraction: expected a number .* not 'half'"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps: expected 1 or more, not 0"),
        ({"max_length": -5}, "max_length: expected 1 or more, not -5"),
        ({"learning_rate": -0.1}, "learning_rate: expected 0 or more, not -0.1"),
        ({"dtype": "float31"}, "dtype: expected auto, float32"),
        ({"lora_target_modules": ["(q_proj"]}, "lora_target_modules: .* is not a regular expression"),
        (
            {
                "eval_strategy": "steps",
                "save_strategy": "steps",
                "load_best_model_at_end": True,
                "metric_for_best_model": "evalloss",
            },
            "metric_for_best_model: expected eval_loss",
        ),
        ({"lora_vision_tower": True, "use_peft": False}, "lora_vision_tower: expected use_peft: true"),
        ({"lora_vision_tower": True, "freeze_vision_tower": True}, "lora_vision_tower and freeze_vision_tower contra"),
        ({"lora_vision_tower": True, "lora_target_modules": ["q_proj"]}, "lora_vision_tower and lora_target_modules"),
        ({"assistant_only_loss": False}, "assistant_only_loss: expected true"),
        ({"learning_rate": "fast"}, "learning_rate.*fast"),
        ({"model_name_or_path": None}, "model_name_or_path is missing"),
    ],
)
def test_an_invalid_recipe_is_refused(changes: dict[str, Any], message: str, base: Path, tmp_path: Path) -> None:
    changes = {"datasets": [{"path": "dfa-instruct", "name": "conversations"}], **changes}
    with pytest.raises(ValueError, match=message):
        parse_recipe(["--config", str(tiny_recipe(tmp_path, base, **changes))])


def test_a_missing_reporter_is_named(base: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("modeling_dfa_gpt.recipe.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="report_to: trackio is not installed"):
        parse_recipe(["--config", str(tiny_recipe(tmp_path, base, report_to="trackio"))])


def test_a_repeated_key_is_refused(base: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, base)
    with recipe.open("a") as file:
        file.write("learning_rate: 0.5\n")
    with pytest.raises(ValueError, match="'learning_rate' appears twice"):
        read_recipe(recipe)


def test_an_adapter_is_not_written_into_its_base(base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"output_dir: {base} is the folder of the base"):
        parse_recipe(["--config", str(tiny_recipe(tmp_path, base, output_dir=str(base)))])
