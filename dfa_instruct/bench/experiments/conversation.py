"""DFA-Bench's conversations: does a model answer what it is asked, agree with itself, and name what is in the picture?

Four turns a face, in the order of one of the scripts of `conversation.yaml`, once in the words of the instruction
templates and once in words that stand in no template. The paper measures single answers only; this stands beside it.
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

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.bench.experiments.baselines import image_blind, images_swapped
from dfa_instruct.bench.metrics import percent
from dfa_instruct.bench.runner import Rows, load_rows
from dfa_instruct.bench.tasks.parsing import (
    described_label,
    label_of,
    named_regions,
    parse_category,
    parse_claims,
    parse_verdict,
    speaks_of_confidence,
)
from dfa_instruct.instruct.templates import Template, libraries, phrase
from dfa_instruct.vocabulary import CATEGORIES, REGIONS, Label

Kind = Literal["detect", "classify", "describe", "rely", "reason", "region"]
Wording = Literal["templates", "paraphrases"]
WORDINGS: Final[tuple[Wording, ...]] = ("templates", "paraphrases")
MAX_NEW_TOKENS = 200
NAMES: Final = tuple(CATEGORIES.values())

_YES_NO: Final = re.compile(r"\s*(?:yes|no)\s*[,.!]", re.IGNORECASE)
_NONE_OF: Final = re.compile(r"\s*no (?!way|doubt)\w", re.IGNORECASE)
"""How the answers to other questions begin: "No technique is used", "No artifact is visible"."""

RIGHT: Final[dict[Kind, Callable[[dict[str, Any]], bool]]] = {
    "detect": lambda turn: SAYS["detect"](turn) is not None and not _NONE_OF.match(turn["answer"]),
    "classify": lambda turn: (
        parse_category(turn["answer"], turn["options"]) is not None and not _YES_NO.match(turn["answer"])
    ),
    "describe": lambda turn: (
        bool(claims := parse_claims(turn["answer"]))
        or (claims is not None and not speaks_of_confidence(turn["answer"]))
    ),
    "rely": lambda turn: speaks_of_confidence(turn["answer"]),
    "reason": lambda turn: parse_claims(turn["answer"]) is not None,
    "region": lambda turn: turn["region"] in named_regions(turn["answer"]),
}
"""Kind of question → whether a turn's answer is one to it."""
SAYS: Final[dict[Kind, Callable[[dict[str, Any]], Label | None]]] = {
    "detect": lambda turn: parse_verdict(turn["answer"], turn["asked"]),
    "classify": lambda turn: label_of(parse_category(turn["answer"], turn["options"])),
    "describe": lambda turn: described_label(turn["answer"]),
}
"""Kind of question → the label that a turn's answer implies."""


@cache
def _content() -> dict[str, Any]:
    return yaml.safe_load((files("dfa_instruct.bench.experiments") / "conversation.yaml").read_text(encoding="utf-8"))


def scripts() -> list[list[Kind]]:
    """Return the scripts: the kinds of the four turns."""
    return _content()["scripts"]


def paraphrases() -> dict[Kind, tuple[Template, ...]]:
    """Return, for each kind, questions that stand in no template of the instruction libraries."""
    return {
        kind: tuple(
            Template(f"{kind}.{number}", (entry["question"],), when=entry["polarity"])
            if isinstance(entry, dict)
            else Template(f"{kind}.{number}", (entry,))
            for number, entry in enumerate(entries, start=1)
        )
        for kind, entries in _content()["paraphrases"].items()
    }


@cache
def phrasings() -> dict[Wording, dict[Kind, tuple[Template, ...]]]:
    """Return the questions of each kind, in both wordings."""
    library = libraries()
    of = {template.id: template for template in library.fc.questions}
    templates: dict[Kind, tuple[Template, ...]] = {
        "detect": library.df_d.questions,
        "classify": library.df_c.questions,
        "describe": library.ad.questions,
        "rely": (of["fc.sure"],),
        "reason": (of["fc.reason"],),
        "region": (of["fc.region_found"],),
    }
    return {"templates": templates, "paraphrases": paraphrases()}


def _turn(kind: Kind, wording: Wording, later: bool, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a question, with the label that makes its answer a yes, the region that it is about, and its options."""
    region = list(REGIONS)[rng.integers(len(REGIONS))]
    options = [NAMES[i] for i in rng.permutation(len(NAMES))]
    templates = phrasings()[wording][kind]
    template = templates[rng.integers(len(templates))]
    choices = template.questions + (template.followups if later else ())
    chosen = phrase(choices[rng.integers(len(choices))], rng)
    asked = template.when if kind == "detect" and template.when != "either" else None
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCDE", options, strict=True))
    question = chosen.format(region=region, options=listed)
    return {"kind": kind, "question": question, "asked": asked, "region": region, "options": options}


def hold(model: BenchModel, rows: Rows, wording: Wording, seed: int = 0) -> list[dict[str, Any]]:
    """Hold a conversation of four turns about every image.

    Returns:
        One dictionary an image: `face_id`, `label`, and `turns`, each with `kind`, `question`, `answer`, and what
        the question may be about: `asked`, the label that makes the answer a yes, `region` and `options`.
    """
    talks: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        rng = np.random.default_rng([seed, int(row["face_id"], 16)])
        script = scripts()[number % len(scripts())]
        turns = [_turn(kind, wording, place > 0, rng) for place, kind in enumerate(script)]
        talks.append({"face_id": row["face_id"], "label": row["label"], "turns": turns})
    # One script after the other: a batch takes as long as its longest answer, and so those of one kind stay together.
    order = sorted(range(len(talks)), key=lambda number: number % len(scripts()))
    questions = [[turn["question"] for turn in talks[number]["turns"]] for number in order]
    answers = model.converse([rows[number]["image"] for number in order], questions, MAX_NEW_TOKENS)
    for number, said in zip(order, answers, strict=True):
        for turn, answer in zip(talks[number]["turns"], said, strict=True):
            turn["answer"] = answer
    return talks


def contradicts(talk: dict[str, Any]) -> bool:
    """Tell whether verdict, class and description of one conversation imply different labels."""
    said = {SAYS[turn["kind"]](turn) for turn in talk["turns"] if turn["kind"] in SAYS}
    return len(said - {None}) > 1


def grounding(talks: Sequence[dict[str, Any]], rows: Rows) -> dict[str, float]:
    """Hold the descriptions against the evidence; all in percent.

    Returns:
        Over forged faces with evidence, pooled: `region_precision` and `region_recall` of the regions that are named,
        `precision` and `recall` of region and artifact together, and `repeated`, the share of descriptions that name a
        region twice as a heading; over bona fide faces `false_claims`, the share of which any artifact is claimed.
    """
    named = right = shown = pairs_named = pairs_right = pairs_shown = 0
    repeated: list[bool] = []
    false_claims: list[bool] = []
    for talk, row in zip(talks, rows, strict=True):
        answer = next(turn["answer"] for turn in talk["turns"] if turn["kind"] == "describe")
        claims = set(parse_claims(answer) or [])
        headings = re.findall(r"^\d+\.\s*\**([^*:\n]+)", answer, re.MULTILINE)
        repeated.append(len(headings) > len(set(headings)))
        if row["label"] == "bona_fide":
            false_claims.append(bool(claims))
            continue
        evidence = {(artifact["region"], artifact["artifact"]) for artifact in row["artifacts"]}
        regions, true_regions = {region for region, _ in claims}, {region for region, _ in evidence}
        named, right, shown = named + len(regions), right + len(regions & true_regions), shown + len(true_regions)
        pairs_named += len(claims)
        pairs_right += len(claims & evidence)
        pairs_shown += len(evidence)

    def share(part: int, whole: int) -> float:
        return 100 * part / whole if whole else float("nan")

    return {
        "region_precision": share(right, named),
        "region_recall": share(right, shown),
        "precision": share(pairs_right, pairs_named),
        "recall": share(pairs_right, pairs_shown),
        "repeated": percent(repeated),
        "false_claims": percent(false_claims),
    }


def figures(talks: Sequence[dict[str, Any]], rows: Rows) -> dict[str, float]:
    """Return `right_kind` of all turns and of each kind and place, `contradictions` and the `grounding`, in percent."""
    turns = [(place, turn) for talk in talks for place, turn in enumerate(talk["turns"], start=1)]
    right = [RIGHT[turn["kind"]](turn) for _, turn in turns]
    of_kind = {
        f"right_kind_{kind}": percent([ok for ok, (_, turn) in zip(right, turns, strict=True) if turn["kind"] == kind])
        for kind in RIGHT
    }
    of_place = {
        f"right_kind_turn_{place}": percent([ok for ok, (p, _) in zip(right, turns, strict=True) if p == place])
        for place in sorted({place for place, _ in turns})
    }
    found = {
        "right_kind": percent(right),
        **of_kind,
        **of_place,
        "contradictions": percent([contradicts(talk) for talk in talks]),
        **grounding(talks, rows),
    }
    return {name: round(value, 2) for name, value in found.items()}


def run_conversation(
    model: BenchModel, data: Path | None, *, limit: int | None = None, seed: int = 0, baselines: bool = True
) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """Talk about the test faces, and measure it.

    Args:
        model: a model that DFA-Bench asks.
        data: the dataset folder, see `run_bench`.
        limit: talk about this many images only, the same as `run_bench`.
        seed: of the questions that are drawn.
        baselines: also talk with every image replaced by a grey one (`image_blind`) and by another's
            (`images_swapped`), in the words of the templates.

    Returns:
        The figures (see `figures`) of `templates` and `paraphrases`, the two wordings, and of the baselines; and the
        conversations in both wordings.
    """
    rows = load_rows(data, limit)
    held = {wording: hold(model, rows, wording, seed) for wording in WORDINGS}
    measured: dict[str, dict[str, float]] = {wording: figures(talks, rows) for wording, talks in held.items()}
    if baselines:
        measured["image_blind"] = figures(hold(model, image_blind(rows), "templates", seed), rows)
        measured["images_swapped"] = figures(hold(model, images_swapped(rows, seed), "templates", seed), rows)
    return measured, [{"wording": wording, **talk} for wording, talks in held.items() for talk in talks]
