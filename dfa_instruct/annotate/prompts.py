"""The prompts: versioned text files, the values of their placeholders, and the JSON schemas of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, Final

import yaml

from dfa_instruct.annotate.store import Request
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.vlm.messages import image_url
from dfa_instruct.vocabulary import ARTIFACTS, CATEGORIES, REGIONS, Ability, Category

PROMPTS: Final = ("ad_alone", "ad_compared", "fc")
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
    """A prompt: its name and version, the text with placeholders, and the sampling parameters of the request."""

    version: str
    text: Template
    parameters: dict[str, Any]


@cache
def load_prompt(name: str) -> Prompt:
    """Load a prompt of the package (see `PROMPTS`)."""
    text = (files("dfa_instruct.annotate") / "prompts" / f"{name}.txt").read_text(encoding="utf-8")
    header, _, body = text.partition("---\n")
    settings = yaml.safe_load(header)
    return Prompt(f"{name} {settings.pop('version')}", Template(body.strip()), settings)


def schema(ability: Ability) -> dict[str, Any]:
    """Return the JSON schema of an ability's answers, in the strict form that structured output requires."""
    text = {"type": "string"}
    if ability == "ad":
        region, artifact = {**text, "enum": list(REGIONS)}, {**text, "enum": list(ARTIFACTS)}
        claim = _object({"region": region, "artifact": artifact, "sentence": text})
        return _object({"artifacts": {"type": "array", "items": claim}})
    return _object({"turns": {"type": "array", "items": _object({"question": text, "answer": text})}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def parameters(request: Request) -> dict[str, Any]:
    """Return what is sent with a request: its parameters, and the form of the answer that is asked for."""
    form = {"name": request.ability, "strict": True, "schema": schema(request.ability)}
    return request.parameters | {"response_format": {"type": "json_schema", "json_schema": form}}


def description_request(
    face_id: str, category: Category, technique: str | None, pair_id: str | None, model: str
) -> Request:
    """Build the request for the artifact description of a forgery.

    Args:
        face_id: The forgery.
        category: Its category.
        technique: Its technique, if it is known. It is not named in the request.
        pair_id: The bona fide face to show beside it; None: the forgery is shown alone.
        model: The name of the model.
    """
    prompt = load_prompt("ad_alone" if pair_id is None else "ad_compared")
    explanation = libraries().df_c.explanation(category, technique)
    variables = {"category": CATEGORIES[category], "explanation": explanation}
    return Request(face_id, "ad", prompt.version, variables, model, prompt.parameters, pair_id)


def conversation_request(face_id: str, label: str, df_d: str, df_c: str, ad: str, model: str) -> Request:
    """Build the request for the free conversation about a face, from its other annotations."""
    prompt = load_prompt("fc")
    variables = {"detection": df_d, "classification": df_c, "artifacts": ad, "followups": _FOLLOWUPS[label]}
    return Request(face_id, "fc", prompt.version, variables, model, prompt.parameters)


def filled(request: Request) -> str:
    """Return the text of a request, with all placeholders filled."""
    values = {**request.variables, "form": _FORMS[request.ability]}
    if request.ability == "ad":
        values["regions"], values["artifacts"] = ", ".join(REGIONS), ", ".join(ARTIFACTS)
        values["meanings"] = "\n".join(f"  - {name} means that {meaning}" for name, meaning in ARTIFACTS.items())
    return load_prompt(request.prompt.rpartition(" ")[0]).text.substitute(values)


def messages(request: Request, pictures: list[bytes], answer: str = "", complaint: str = "") -> list[dict[str, Any]]:
    """Build the chat messages of a request.

    Args:
        request: The request.
        pictures: PNG files: none for a conversation, the face, or the face and its bona fide face.
        answer: The last answer, if it was not understood.
        complaint: What was wrong with the last answer.
    """
    text = filled(request)
    content = [{"type": "text", "text": text}, *map(image_url, pictures)] if pictures else text
    chat: list[dict[str, Any]] = [{"role": "user", "content": content}]
    if complaint:
        again = f"{complaint} Answer once more, with JSON only, in this form:\n{_FORMS[request.ability]}"
        chat += [{"role": "assistant", "content": answer or "…"}, {"role": "user", "content": again}]
    return chat
