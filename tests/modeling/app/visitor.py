"""Use the page without a browser, by doing what Gradio's page does with components and events."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from modeling_dfa_gpt.app.page import TAKE_QUESTION_JS, build, launch
from modeling_dfa_gpt.dfa_gpt import DfaGpt


@contextmanager
def serving(model: DfaGpt, adapter: Path, auth: tuple[str, str] | None = None) -> Iterator[str]:
    """Serve a page and yield its address."""
    blocks = build(model, str(adapter))
    try:
        yield launch(blocks, "127.0.0.1", None, auth)
    finally:
        blocks.close(verbose=False)


class Visitor:
    """Hold the components of the page, and apply the effects of their events."""

    def __init__(self, address: str) -> None:
        self.api, self.session = f"{address}gradio_api/", secrets.token_hex(8)
        config = httpx.get(f"{address}config").json()
        self.components = {part["id"]: {"type": part["type"], **part["props"]} for part in config["components"]}
        self.events: list[dict[str, Any]] = config["dependencies"]

    def number(self, name: str) -> int:
        """Return the number of a component by its label or button text."""
        return next(n for n, part in self.components.items() if name in (part.get("label"), part.get("value")))

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self.components[self.number(name)]

    @property
    def text(self) -> str:
        """All HTML on the page."""
        return "".join(str(part.get("value")) for part in self.components.values() if part["type"] == "html")

    @property
    def chat(self) -> list[str]:
        """The texts of the conversation."""
        chat = self["Conversation"]["value"] or ()
        return [turn["content"][0]["text"] for turn in chat]

    def sent(self, path: Path) -> dict[str, Any]:
        """Upload a file and return it as a component's value."""
        answer = httpx.post(f"{self.api}upload", files={"files": (path.name, path.read_bytes())})
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def do(self, name: str, event: str, value: Any = None, meanwhile: Callable[[], None] = lambda: None) -> str:
        """Trigger an event and return the last error. `meanwhile` is called before the response is read."""
        number, error = self.number(name), ""
        if event not in ("click", "submit"):
            self.components[number]["value"] = value
        for found in self.events:
            if [number, event] in found["targets"]:
                error = self._run(found, meanwhile) or error
        return error

    def _run(self, event: dict[str, Any], meanwhile: Callable[[], None]) -> str:
        given = [self.components[number].get("value") for number in event["inputs"]]
        if event["js"] == TAKE_QUESTION_JS:  # no other script precedes a request
            for number, new in zip(event["outputs"], ("", *given), strict=True):
                self.components[number]["value"] = new
            return self._follow(event)
        asked = {"data": given, "fn_index": event["id"], "session_hash": self.session}
        httpx.post(f"{self.api}queue/join", json=asked).raise_for_status()
        meanwhile()
        stream = httpx.get(f"{self.api}queue/data?session_hash={self.session}", timeout=600).text
        messages = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith("data:")]
        [done] = [message for message in messages if message["msg"] == "process_completed"]
        if not done["success"]:
            return str(done["output"]["error"])
        for number, new in zip(event["outputs"], done["output"]["data"], strict=True):
            updated = new if isinstance(new, dict) and new.get("__type__") == "update" else {"value": new}
            self.components[number].update(updated)
        return self._follow(event)

    def _follow(self, event: dict[str, Any]) -> str:
        for following in self.events:
            if following["trigger_after"] == event["id"] and following["backend_fn"]:
                return self._run(following, lambda: None)
        return ""
