"""The prompts: text files of a version each, what fills them, and the form of the answer that they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, Final

import yaml

from dfa_instruct.annotate.store import Request
from dfa_instruct.vlm.messages import image_url
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, EXPLANATIONS, REGIONS, Ability, Category

_FORMS: Final[dict[Ability, str]] = {
    "ad": '{"artifacts": [{"region": "…", "artifact": "…", "sentence": "…"}, …]}',
    "fc": '{"turns": [{"question": "…", "answer": "…"}, …]}',
}
_FOLLOWUPS: Final = {
    "bona_fide": "At least one question is about a single facial region, and one about what makes the face credible.",
    "forged": "At least two of them follow up on the artifacts: they ask about one region, what exactly is wrong "
    "there, or what that says about the forgery.",
}


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt: `version` is its name and number, `parameters` go with the request."""

    version: str
    text: Template
    parameters: dict[str, Any]


@cache
def prompt(name: str) -> Prompt:
    """Read a prompt of the package: `ad_alone`, `ad_compared` or `fc`."""
    text = (files("dfa_instruct.annotate") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    header, _, body = text.partition("---\n")
    settings = yaml.safe_load(header)
    return Prompt(f"{name} {settings.pop('version')}", Template(body.strip()), settings)


def schema(ability: Ability) -> dict[str, Any]:
    """Return the JSON schema of an ability's answers, in the strict form that servers of structured output take."""
    if ability == "ad":
        part = {
            "region": {"type": "string", "enum": list(REGIONS)},
            "artifact": {"type": "string", "enum": [*ARTIFACTS]},
        }
        return _object({"artifacts": {"type": "array", "items": _object({**part, "sentence": {"type": "string"}})}})
    turn = _object({"question": {"type": "string"}, "answer": {"type": "string"}})
    return _object({"turns": {"type": "array", "items": turn}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def parameters(request: Request) -> dict[str, Any]:
    """Return what is sent with a request: its parameters, and the form of the answer that is asked for."""
    form = {"name": request.ability, "strict": True, "schema": schema(request.ability)}
    return request.parameters | {"response_format": {"type": "json_schema", "json_schema": form}}


def description_request(face_id: str, category: Category, pair_id: str | None, model: str) -> Request:
    """Ask for the artifact description of a forgery: of it alone, or beside its bona fide, `pair_id`.

    Raises:
        ValueError: the face is bona fide, or is synthesized and has a pair.
    """
    if category == "bona_fide" or (category == "entire_face_synthesis" and pair_id is not None):
        raise ValueError(f"{face_id}: no description is asked of a {category} face{' and a pair' if pair_id else ''}")
    chosen = prompt("ad_alone" if pair_id is None else "ad_compared")
    words = {"category": CATEGORIES[category], "explanation": EXPLANATIONS[category]}
    return Request(face_id, "ad", chosen.version, words, model, chosen.parameters, pair_id)


def conversation_request(face_id: str, label: str, df_d: str, df_c: str, ad: str, model: str) -> Request:
    """Ask for the free conversation about a face, of which the model is told the annotations."""
    chosen = prompt("fc")
    words = {"detection": df_d, "classification": df_c, "artifacts": ad, "followups": _FOLLOWUPS[label]}
    return Request(face_id, "fc", chosen.version, words, model, chosen.parameters)


def filled(request: Request) -> str:
    """Return the text of a request."""
    given = dict(request.words)
    if request.ability == "ad":
        given["regions"], given["artifacts"] = ", ".join(REGIONS), ", ".join(ARTIFACTS)
        given["meanings"] = "\n".join(f"  - {name} means that {meaning}" for name, meaning in ARTIFACTS.items())
    return prompt(request.prompt.rpartition(" ")[0]).text.substitute(given, form=_FORMS[request.ability])


def messages(request: Request, pictures: list[bytes], answer: str = "", complaint: str = "") -> list[dict[str, Any]]:
    """Lay a request out as a chat; after an answer that was not understood, with that answer and the complaint.

    Args:
        request: the request.
        pictures: PNG files: none for a conversation, the face, or the face and its bona fide.
        answer: what came before.
        complaint: what was wrong with it.
    """
    content: list[dict[str, Any]] = [{"type": "text", "text": filled(request)}]
    content += [image_url(png) for png in pictures]
    chat: list[dict[str, Any]] = [{"role": "user", "content": content if pictures else filled(request)}]
    if complaint:
        again = f"{complaint} Answer once more, with JSON only, in this form:\n{_FORMS[request.ability]}"
        chat += [{"role": "assistant", "content": answer or "…"}, {"role": "user", "content": again}]
    return chat
