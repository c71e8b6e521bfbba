"""Rewards for `modeling_dfa_gpt.grpo`: functions of an answer and of what the dataset knows about the face.

No judge and no person is needed, because the evidence of a forgery was measured in the pixels of its pair. An answer
that does not depend on the image earns nothing on average; see `regions`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dfa_instruct.annotate.claims import normalize, parse_claims
from dfa_instruct.bench.tasks.parsing import described_label, label_of, parse_category, parse_verdict
from dfa_instruct.instruct.options import OPTION
from dfa_instruct.vocabulary import CATEGORIES, OPPOSITE, REGIONS, Ability, Category, Label, Region

LONGEST: Final = 1.25
"""The length that costs nothing, in lengths of the dataset's answer."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the truth about its face.

    Attributes:
        ability: The kind of question: `df_d`, `df_c` or `ad`.
        question: Its text.
        answer: The dataset's answer.
        label: The label of the face.
        category: The category of the face.
        regions: The regions with an artifact.
        shares: The share of the forged training faces that have an artifact in each region.
    """

    ability: Ability
    question: str
    answer: str
    label: Label
    category: Category
    regions: frozenset[Region]
    shares: Mapping[Region, float]


Reward = Callable[[str, Question], float]


def verdict(answer: str, question: Question) -> float:
    """Return 1 if the answer implies the label of the face, -1 if it implies the other one, and else 0."""
    if question.ability == "df_d":
        said_yes = re.match(r"(yes|no)\b", question.answer, re.IGNORECASE)
        asked = None
        if said_yes:
            asked = question.label if said_yes[1].lower() == "yes" else OPPOSITE[question.label]
        label = parse_verdict(answer, asked)
    elif question.ability == "df_c":
        label = label_of(_category(answer, question))
    else:
        label = described_label(answer)
    return 0.0 if label is None else 1.0 if label == question.label else -1.0


def category(answer: str, question: Question) -> float:
    """Return 1 if the answer to a question of DF-C names the right category only, else 0. Other questions earn 0."""
    return float(question.ability == "df_c" and _category(answer, question) == question.category)


def _category(answer: str, question: Question) -> Category | None:
    return parse_category(answer, OPTION.findall(question.question) or tuple(CATEGORIES.values()))


def regions(answer: str, question: Question) -> float:
    """Reward a description for each region that it calls faulty: more if the pixels agree, negatively if they do not.

    A region with evidence earns one minus its share of the forged training faces, and a region without costs this
    share. A list that is the same for all forged faces, or that names all regions, thus earns nothing on average, while
    a description with exactly the regions of the evidence earns 1 on average.

    Returns:
        The sum, divided by its mean for descriptions of forged faces that are exactly right. Other questions earn 0.
    """
    if question.ability != "ad":
        return 0.0
    named = {region for region, _ in parse_claims(answer) or []}
    most = sum(share * (1 - share) for share in question.shares.values())
    return sum((region in question.regions) - question.shares[region] for region in named) / most if most else 0.0


def brevity(answer: str, question: Question) -> float:
    """Return 0, or a penalty down to -1 for a repeated sentence, or for length beyond `LONGEST`."""
    sentences = [normalize(sentence) for sentence in re.split(r"[.!?\n]+(?:\s|$)", answer)]
    counts = Counter(sentence for sentence in sentences if len(sentence.split()) > 1)
    excess = len(answer.split()) / (LONGEST * max(len(question.answer.split()), 1)) - 1
    return -1.0 if counts and max(counts.values()) > 1 else -min(max(excess, 0.0), 1.0)


REWARDS: Final[tuple[Reward, ...]] = (verdict, category, regions, brevity)
"""All rewards, in the order of the recipe's `reward_weights`."""


def region_shares(rows: Iterable[Mapping[str, Any]]) -> dict[Region, float]:
    """Return the share of forged faces that have an artifact in each region.

    Args:
        rows: Rows with `label` and `artifacts`.
    """
    forged = [{artifact["region"] for artifact in row["artifacts"]} for row in rows if row["label"] == "forged"]
    return {region: sum(region in faulty for faulty in forged) / max(len(forged), 1) for region in REGIONS}


def for_trl(reward: Reward, shares: Mapping[Region, float]) -> Callable[..., list[float]]:
    """Return a reward as a function that TRL's GRPOTrainer calls with the columns of `modeling_dfa_gpt.grpo.prompts`.

    Args:
        reward: The reward.
        shares: See `Question`.
    """

    def rewards(completions: Sequence[Sequence[Mapping[str, str]]], **columns: Any) -> list[float]:
        names = ("ability", "question", "answer", "label", "category")
        scored = []
        for number, turns in enumerate(completions):
            known = {name: columns[name][number] for name in names}
            question = Question(**known, regions=frozenset(columns["regions"][number]), shares=shares)
            scored.append(reward(turns[-1]["content"], question))
        return scored

    rewards.__name__ = reward.__name__
    return rewards
