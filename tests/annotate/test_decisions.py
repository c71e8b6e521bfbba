"""Review decisions are stored, undone and compared, and the stored annotator follows them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dfa_instruct.annotate.answer_parsing import claims_to_findings
from dfa_instruct.annotate.decisions import Choice, Decision, Decisions, agreements, reviewer_name
from dfa_instruct.annotate.from_store import Stored
from dfa_instruct.annotate.measured import Measured, description
from dfa_instruct.annotate.store import Outcome, Request, Store
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.records import Artifact, Face
from dfa_instruct.sources.portraits.drawing import draw_sample

MOUTH = {"region": "mouth", "artifact": "colour", "sentence": "The lips are too red.", "verdict": "borne_out"}
EYES = {"region": "eyes", "artifact": "geometry", "sentence": "One eye is larger.", "verdict": "contradicted"}
NOSE = {"region": "nose", "artifact": "texture", "sentence": "The nose has no pores.", "verdict": "borne_out"}
DESCRIPTION = description(claims_to_findings([MOUTH, EYES]), libraries())
MEASURED = [Artifact("chin", "colour", 0.8), Artifact("chin", "texture", 0.7)]
ACCEPTED, REJECTED = Decision("ann", "accept"), Decision("ann", "reject")
EDITED = Decision("bob", "edit", (NOSE,), 1.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "faces.annotations.sqlite")


@pytest.fixture
def face() -> Face:
    portrait = next(draw_sample(identities=1, pictures=1, size=64, seed=0))
    return replace(portrait, label="forged", category="face_swapping")


def describe(store: Store, face: Face) -> None:
    """Store a description with one contradicted claim."""
    store.keep_prompt("ad_alone 1", "Look at this face.")
    request = Request(face.face_id, "ad", "ad_alone 1", {}, "tiny", {})
    store.put(request, Outcome("annotated", parsed=[MOUTH, EYES], grounding=0.5))


def test_the_last_decision_of_each_reviewer_on_a_text_stands(store: Store) -> None:
    decisions = Decisions(store)
    decisions.put("f1", DESCRIPTION, ACCEPTED)
    decisions.put("f1", DESCRIPTION, EDITED)
    decisions.put("f1", DESCRIPTION, REJECTED)
    decisions.put("f1", "Another text.", ACCEPTED)
    with Store(store.path) as again:
        assert Decisions(again).latest("f1", DESCRIPTION) == [EDITED, REJECTED]
        assert Decisions(again).choices()["ann"] == {("f1", DESCRIPTION): "reject", ("f1", "Another text."): "accept"}


def test_decisions_are_undone_one_by_one_and_those_of_others_stay(store: Store) -> None:
    decisions = Decisions(store)
    for face_id, decision in (("f1", ACCEPTED), ("f2", ACCEPTED), ("f2", EDITED), ("f2", REJECTED), ("f3", REJECTED)):
        decisions.put(face_id, DESCRIPTION, decision)
    decisions.put("f2", DESCRIPTION, REJECTED)  # a key that is pressed twice
    among = {("f1", DESCRIPTION), ("f2", DESCRIPTION)}
    assert [decisions.undo("ann", among) for _ in range(2)] == ["f2", "f2"]
    assert decisions.latest("f2", DESCRIPTION) == [EDITED]
    assert [decisions.undo("ann", among) for _ in range(2)] == ["f1", None]
    assert decisions.choices() == {"ann": {("f3", DESCRIPTION): "reject"}, "bob": {("f2", DESCRIPTION): "edit"}}


def test_a_decision_outlives_the_process_that_made_it(store: Store) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dfa_instruct.annotate.decisions import Decision, Decisions\n"
        "from dfa_instruct.annotate.store import Store\n"
        "decisions = Decisions(Store(Path(sys.argv[1])))\n"
        "for number in range(100):\n"
        "    decisions.put(f'f{number}', 'text', Decision('ann', 'accept'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(store.path)]).returncode == -9
    assert len(Decisions(store).choices()["ann"]) == 100


def test_two_reviewers_are_compared_on_what_both_have_seen() -> None:
    def chosen(*choices: Choice) -> dict[tuple[str, str], Choice]:
        return {(f"f{number}", DESCRIPTION): choice for number, choice in enumerate(choices)}

    ann = chosen(*["accept"] * 6, *["reject"] * 4, *["edit"] * 5)
    bob = chosen(*["accept"] * 5, "reject", "accept", *["reject"] * 3)
    (found,) = agreements({"bob": bob, "ann": ann, "cem": {}})
    assert (found.reviewers, found.count, found.observed) == (("ann", "bob"), 10, 0.8)
    assert found.kappa == pytest.approx((0.8 - 0.52) / (1 - 0.52))  # chance: 0.6 · 0.6 + 0.4 · 0.4
    (same,) = agreements({"ann": chosen("accept", "accept"), "bob": chosen("accept", "accept")})
    assert (same.observed, same.kappa) == (1.0, None)


@pytest.mark.parametrize(
    ("decided", "by", "claims"),
    [
        ([ACCEPTED], "tiny, ad_alone 1, accepted by ann", [MOUTH, EYES]),
        ([ACCEPTED, Decision("bob", "accept")], "tiny, ad_alone 1, accepted by ann and bob", [MOUTH, EYES]),
        ([EDITED, ACCEPTED], "tiny, ad_alone 1, edited by bob", [NOSE]),
        ([EDITED, REJECTED], "measured", None),
        ([], "measured", None),
    ],
)
def test_a_reviewed_description_is_used_as_decided(
    decided: list[Decision], by: str, claims: list[dict[str, str]] | None, store: Store, face: Face
) -> None:
    describe(store, face)
    for decision in decided:
        Decisions(store).put(face.face_id, DESCRIPTION, decision)
    found = Stored(store, "review").annotate(face, MEASURED)
    expected = Measured().annotate(face, MEASURED).findings if claims is None else claims_to_findings(claims)
    assert (found.ad_by, found.findings) == (by, expected)
    assert found.ad == description(expected, libraries())
    assert found.grounding == (None if claims is None else 1.0 if claims == [NOSE] else 0.5)


def test_a_decision_on_another_text_changes_nothing(store: Store, face: Face) -> None:
    describe(store, face)
    Decisions(store).put(face.face_id, description(claims_to_findings([MOUTH]), libraries()), REJECTED)
    assert Stored(store, "drop").annotate(face, MEASURED).findings == claims_to_findings([MOUTH])


def test_measured_descriptions_are_reviewed_too(store: Store, face: Face) -> None:
    measured = Measured().annotate(face, MEASURED)
    Decisions(store).put(face.face_id, measured.ad, ACCEPTED)
    assert Stored(store).annotate(face, MEASURED) == replace(measured, ad_by="measured, accepted by ann")
    Decisions(store).put(face.face_id, measured.ad, REJECTED)
    found = Stored(store).annotate(face, MEASURED)
    assert (found.ad, found.findings, found.ad_by) == (
        libraries().ad.answers.nothing_named,
        (),
        "measured, rejected by ann",
    )


def test_the_digest_follows_words_and_decisions(store: Store, face: Face) -> None:
    before = Stored(store).digest()
    describe(store, face)
    written = Stored(store).digest()
    Decisions(store).put(face.face_id, DESCRIPTION, ACCEPTED)
    decided = Stored(store).digest()
    Decisions(store).undo("ann", {(face.face_id, DESCRIPTION)})
    assert before != written != decided and Stored(store).digest() == written


@pytest.mark.parametrize("name", ["", "  ", "a, b", "x" * 61, "ann\x1b[0m"])
def test_a_reviewer_name_is_plain(name: str) -> None:
    with pytest.raises(ValueError, match="reviewer: expected a name"):
        reviewer_name(name)
    assert reviewer_name("  Ann  Lee ") == "Ann Lee"
