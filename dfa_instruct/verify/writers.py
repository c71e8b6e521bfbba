"""Check who wrote the texts of a row, and that a text which was not measured consists of the row's findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dfa_instruct.annotate.descriptions import descriptions_of, in_words_of_people
from dfa_instruct.annotate.measured import description
from dfa_instruct.instruct.templates import Libraries
from dfa_instruct.records import HUMAN, MEASURED, Annotation, Finding
from dfa_instruct.vocabulary import ARTIFACTS, REGIONS


def written(row: Mapping[str, Any], annotation: Annotation, library: Libraries) -> tuple[Annotation, str]:
    """Find the annotation that the answers of a row must follow from.

    Args:
        row: The row.
        annotation: The annotation of the recipe's annotator. If that only measures, but a language model wrote the
            row's description, the annotation is made from the row's findings instead.
        library: The templates.

    Returns:
        The annotation, and a message about what is wrong with the writers of the row, or an empty text.
    """
    grounding, findings = row["grounding"], []
    if not row["ad_by"] or not row["fc_by"] or not (grounding is None or 0 <= grounding <= 1):
        return annotation, f"by {row['ad_by']!r} and {row['fc_by']!r}, grounding {grounding}"
    for part in row["findings"]:
        is_empty = not part["artifacts"] and row["ad_by"] != HUMAN  # people may leave open what is wrong
        if part["region"] not in REGIONS or is_empty or not {*part["artifacts"]} <= {*ARTIFACTS}:
            return annotation, f"finding {part}"
        findings.append(Finding(part["region"], tuple(part["artifacts"]), part["sentence"]))
    if len({finding.region for finding in findings}) < len(findings):
        return annotation, "two findings of one region"
    descriptions = descriptions_of(row)
    if (row["ad_by"] == HUMAN) != bool(descriptions):
        return annotation, f"{row['ad_by']} describes a face with {len(descriptions)} descriptions by people"
    if descriptions:
        annotation = in_words_of_people(annotation, descriptions)
    elif row["ad_by"] != MEASURED and annotation.ad_by == MEASURED:
        rejected = row["ad_by"].startswith(f"{MEASURED}, rejected by ")
        if row["label"] != "forged" or bool(findings) == rejected:
            return annotation, f"{row['ad_by']} describes a {row['label']} face by {len(findings)} findings"
        text = description(tuple(findings), library)
        annotation = replace(annotation, ad=text, findings=tuple(findings), ad_by=row["ad_by"])
    if (row["ad_by"], findings) != (annotation.ad_by, [*annotation.findings]):
        return annotation, f"the findings of {row['ad_by']} are not those of {annotation.ad_by}"
    by = [pair["template"].rpartition(".")[0] for pair in row["qa"] if pair["ability"] == "fc"]
    wrong = row["fc_by"] != MEASURED and set(by) != {row["fc_by"]}
    return annotation, f"the conversation is by {row['fc_by']}, its turns by {sorted(set(by))}" if wrong else ""
