"""DFA-Bench's conversations: does a model answer what is asked, agree with itself, and name what the image shows?

Each face gets four turns, in the order of one of the scripts of `conversation.yaml`, once in the words of the
instruction templates and once in words that no template contains. The paper measures single answers only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import yaml

from dfa_instruct.annotate.claims import named_regions, parse_claims
from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.experiments.baselines import image_blind, images_swapped
from dfa_instruct.bench.metrics import Figures, percent, rounded
from dfa_instruct.bench.results import Rows
from dfa_instruct.bench.runner import load_rows
from dfa_instruct.bench.tasks.parsing import (
    described_label,
    label_of,
    mentions_confidence,
    parse_category,
    parse_verdict,
)
from dfa_instruct.instruct.options import categories_offered, lettered
from dfa_instruct.instruct.templates import Template, libraries, phrase
from dfa_instruct.vocabulary import REGIONS, Label

Kind = Literal["detect", "classify", "describe", "rely", "reason", "region"]
Wording = Literal["templates", "paraphrases"]
Turn = dict[str, Any]
"""`kind`, `question`, `answer`, and what the question may be about: `asked`, the label that the answer yes means,
`region` and `options`."""
Talk = dict[str, Any]
"""A conversation: `face_id`, `label` and `turns`."""
WORDINGS: Final[tuple[Wording, ...]] = ("templates", "paraphrases")
MAX_NEW_TOKENS: Final = 200

_YES_NO: Final = re.compile(r"\s*(?:yes|no)\s*[,.!]", re.IGNORECASE)
_NO_NOUN: Final = re.compile(r"\s*no (?!way|doubt)\w", re.IGNORECASE)
"""How answers to other questions start: "No technique is used", "No artifact is visible"."""

IMPLIED_LABELS: Final[dict[Kind, Callable[[Turn], Label | None]]] = {
    "detect": lambda turn: parse_verdict(turn["answer"], turn["asked"]),
    "classify": lambda turn: label_of(parse_category(turn["answer"], turn["options"])),
    "describe": lambda turn: described_label(turn["answer"]),
}
"""Kind of question → the label that a turn's answer implies."""


def _is_description(turn: Turn) -> bool:
    claims = parse_claims(turn["answer"])
    is_of_other_kind = mentions_confidence(turn["answer"]) or IMPLIED_LABELS["classify"](turn)
    return bool(claims) or (claims is not None and not is_of_other_kind)


IS_RIGHT_KIND: Final[dict[Kind, Callable[[Turn], bool]]] = {
    "detect": lambda turn: IMPLIED_LABELS["detect"](turn) is not None and not _NO_NOUN.match(turn["answer"]),
    "classify": lambda turn: IMPLIED_LABELS["classify"](turn) is not None and not _YES_NO.match(turn["answer"]),
    "describe": _is_description,
    "rely": lambda turn: mentions_confidence(turn["answer"]),
    "reason": lambda turn: parse_claims(turn["answer"]) is not None,
    "region": lambda turn: turn["region"] in named_regions(turn["answer"]),
}
"""Kind of question → whether a turn's answer is an answer to this kind of question."""


@cache
def _content() -> dict[str, Any]:
    return yaml.safe_load((files("dfa_instruct.bench.experiments") / "conversation.yaml").read_text(encoding="utf-8"))


def scripts() -> list[list[Kind]]:
    """Return the scripts; each lists the kinds of four turns."""
    return _content()["scripts"]


def paraphrases() -> dict[Kind, tuple[Template, ...]]:
    """Return the questions of each kind that occur in no template of the instruction libraries."""
    return {
        kind: tuple(
            Template(f"{kind}.{number}", (entry["question"],), when=entry["when"])
            if isinstance(entry, dict)
            else Template(f"{kind}.{number}", (entry,))
            for number, entry in enumerate(entries, start=1)
        )
        for kind, entries in _content()["paraphrases"].items()
    }


@cache
def phrasings() -> dict[Wording, dict[Kind, tuple[Template, ...]]]:
    """Return the questions of each kind in both wordings."""
    library = libraries()
    by_id = {template.id: template for template in library.fc.questions}
    templates: dict[Kind, tuple[Template, ...]] = {
        "detect": library.df_d.questions,
        "classify": library.df_c.questions,
        "describe": library.ad.questions,
        "rely": (by_id["fc.sure"],),
        "reason": (by_id["fc.reason"],),
        "region": (by_id["fc.region_found"],),
    }
    return {"templates": templates, "paraphrases": paraphrases()}


def _turn(kind: Kind, wording: Wording, is_followup: bool, rng: np.random.Generator) -> Turn:
    """Draw a turn's question."""
    region = list(REGIONS)[rng.integers(len(REGIONS))]
    options = categories_offered(rng)
    templates = phrasings()[wording][kind]
    template = templates[rng.integers(len(templates))]
    choices = template.questions + (template.followups if is_followup else ())
    chosen = phrase(choices[rng.integers(len(choices))], rng)
    asked = template.when if kind == "detect" and template.when != "either" else None
    question = chosen.format(region=region, options=lettered(options))
    return {"kind": kind, "question": question, "asked": asked, "region": region, "options": list(options)}


def hold(model: BenchModel, rows: Rows, wording: Wording, seed: int = 0) -> list[Talk]:
    """Hold a conversation of four turns about the image of every row."""
    talks: list[Talk] = []
    for number, row in enumerate(rows):
        rng = np.random.default_rng([seed, int(row["face_id"], 16)])
        script = scripts()[number % len(scripts())]
        turns = [_turn(kind, wording, place > 0, rng) for place, kind in enumerate(script)]
        talks.append({"face_id": row["face_id"], "label": row["label"], "turns": turns})
    # A batch takes as long as its longest answer, so conversations of the same script are held together.
    order = sorted(range(len(talks)), key=lambda number: number % len(scripts()))
    questions = [[turn["question"] for turn in talks[number]["turns"]] for number in order]
    answers = model.converse([rows[number]["image"] for number in order], questions, MAX_NEW_TOKENS)
    for number, of_talk in zip(order, answers, strict=True):
        for turn, answer in zip(talks[number]["turns"], of_talk, strict=True):
            turn["answer"] = answer
    return talks


def is_contradictory(talk: Talk) -> bool:
    """Return whether verdict, class and description of a conversation imply different labels."""
    labels = {IMPLIED_LABELS[turn["kind"]](turn) for turn in talk["turns"] if turn["kind"] in IMPLIED_LABELS}
    return len(labels - {None}) > 1


def grounding(talks: Sequence[Talk], rows: Rows) -> dict[str, float]:
    """Compare the descriptions with the evidence, in percent.

    Returns:
        `region_precision`, `region_recall`: For the regions that are named, pooled over forged faces.
        `precision`, `recall`: The same for pairs of region and artifact.
        `repeated`: Descriptions with the same heading twice.
        `false_claims`: Bona fide faces for which any artifact is claimed.
    """
    claimed: set[tuple[int, Any]] = set()
    evident: set[tuple[int, Any]] = set()
    repeated: list[bool] = []
    false_claims: list[bool] = []
    for number, (talk, row) in enumerate(zip(talks, rows, strict=True)):
        answer = next(turn["answer"] for turn in talk["turns"] if turn["kind"] == "describe")
        claims = set(parse_claims(answer) or [])
        headings = re.findall(r"^\d+\.\s*\**([^*:\n]+)", answer, re.MULTILINE)
        repeated.append(len(headings) > len(set(headings)))
        if row["label"] == "bona_fide":
            false_claims.append(bool(claims))
            continue
        claimed |= {(number, claim) for claim in claims}
        evident |= {(number, (artifact["region"], artifact["artifact"])) for artifact in row["artifacts"]}
    claimed_regions, evident_regions = (
        {(number, region) for number, (region, _) in pairs} for pairs in (claimed, evident)
    )
    return {
        "region_precision": percent([region in evident_regions for region in claimed_regions]),
        "region_recall": percent([region in claimed_regions for region in evident_regions]),
        "precision": percent([pair in evident for pair in claimed]),
        "recall": percent([pair in claimed for pair in evident]),
        "repeated": percent(repeated),
        "false_claims": percent(false_claims),
    }


def figures(talks: Sequence[Talk], rows: Rows) -> Figures:
    """Compute the figures of conversations.

    Returns:
        `right_kind`, `right_kind_<kind>`, `right_kind_turn_<number>`: Answers of the kind that was asked for.
        `contradictions`: Conversations that contradict themselves.
        And the figures of `grounding`.
    """
    turns = [(place, turn) for talk in talks for place, turn in enumerate(talk["turns"], start=1)]
    right = [(place, turn["kind"], IS_RIGHT_KIND[turn["kind"]](turn)) for place, turn in turns]
    found = {"right_kind": percent([ok for _, _, ok in right])}
    for kind in IS_RIGHT_KIND:
        found[f"right_kind_{kind}"] = percent([ok for _, of, ok in right if of == kind])
    for place in sorted({place for place, _ in turns}):
        found[f"right_kind_turn_{place}"] = percent([ok for of, _, ok in right if of == place])
    found["contradictions"] = percent([is_contradictory(talk) for talk in talks])
    return rounded({**found, **grounding(talks, rows)})


def run_conversation(
    model: BenchModel, data: Path | None, *, limit: int | None = None, seed: int = 0, baselines: bool = True
) -> tuple[dict[str, Figures], list[Talk]]:
    """Hold conversations about the test faces, and measure them.

    Args:
        model: The model.
        data: See `run_bench`.
        limit: See `run_bench`.
        seed: The seed for drawing the questions.
        baselines: Also use grey images (`image_blind`) and images of other faces (`images_swapped`).

    Returns:
        The figures of both wordings and of the baselines, and the conversations in both wordings.
    """
    rows = load_rows(data, limit)
    talks = {wording: hold(model, rows, wording, seed) for wording in WORDINGS}
    measured: dict[str, Figures] = {wording: figures(of_wording, rows) for wording, of_wording in talks.items()}
    if baselines:
        measured["image_blind"] = figures(hold(model, image_blind(rows), "templates", seed), rows)
        measured["images_swapped"] = figures(hold(model, images_swapped(rows, seed), "templates", seed), rows)
    return measured, [{"wording": wording, **talk} for wording, of_wording in talks.items() for talk in of_wording]
