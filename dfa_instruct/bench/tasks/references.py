"""Compare a description with those of all people who have described the face, and with the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dfa_instruct.annotate.claims import parse_claims
from dfa_instruct.annotate.descriptions import by_person, descriptions_of, whole_text
from dfa_instruct.bench.metrics import rouge_l


def against_people(line: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """Compare a description of a face with what people and the pixels say about it.

    Args:
        line: A row of a dataset, with at least `descriptions`, `artifacts` and `pairing`.
        answer: The description.

    Returns:
        Empty if nobody has described the face. Otherwise `people`, for each person ROUGE-L (`rouge_l`) and the regions
        that they call faulty (`regions`); `named`, the regions that the answer calls faulty; and `evident`, the regions
        in which the forgery differs from its pair. It is None if there is no pair.
    """
    people = by_person(descriptions_of(line))
    if not people:
        return {}
    regions = {
        person: sorted({finding.region for one in own for finding in one.findings}) for person, own in people.items()
    }
    return {
        "people": [
            {"rouge_l": round(rouge_l(whole_text(own), answer), 2), "regions": regions[person]}
            for person, own in people.items()
        ],
        "named": sorted({region for region, _ in parse_claims(answer) or []}),
        "evident": sorted({artifact["region"] for artifact in line["artifacts"]}) if has_pair(line) else None,
    }


def has_pair(line: Mapping[str, Any]) -> bool:
    """Return whether a row is a forgery whose evidence comes from its bona fide picture."""
    return line["pairing"] in ("same_frame", "content")
