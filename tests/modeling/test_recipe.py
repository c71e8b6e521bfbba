"""A training recipe: its keys, and the choice of abilities."""

from __future__ import annotations

from pathlib import Path

import pytest

from modeling_dfa_gpt.errors import RecipeError
from modeling_dfa_gpt.recipe import parse_recipe, read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
TRAININGS = sorted(path for path in RECIPES.glob("dfa-gpt-*/*.yaml") if path.stem != "dfa-instruct")


@pytest.mark.parametrize("recipe", TRAININGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_recipes_have_known_keys(recipe: Path) -> None:
    read_recipe(recipe)


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
