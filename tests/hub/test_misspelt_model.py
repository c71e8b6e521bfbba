"""Every command reports a model that the Hub does not have, or cannot provide, after one request."""

from __future__ import annotations

import pytest
from hub_client import Client
from hub_double import Hub

ASKED = "user/mispelt"
COMMANDS = {
    "analyze": ["modeling_dfa_gpt.cli", "analyze", ASKED, "face.png"],
    "app": ["modeling_dfa_gpt.cli", "app", ASKED],
    "bench": ["dfa_instruct.cli", "bench", ASKED],
    "probe": ["dfa_instruct.cli", "probe", ASKED],
}


def refusal(client: Client, name: str) -> str:
    module, *arguments = COMMANDS[name]
    return client.refusal("-c", f"from {module} import app; app()", *arguments)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_misspelt_name_is_refused_after_one_request(name: str, hub: Hub, client: Client) -> None:
    assert refusal(client, name) == (
        f"error: {ASKED}: no such folder, and no such model on the Hub (or a private one: set HF_TOKEN)"
    )
    assert [request for request in hub.requests if ASKED in request] == [f"GET /api/models/{ASKED}"]


def test_a_failing_hub_gets_one_request(hub: Hub, client: Client) -> None:
    hub.disturb("GET /api/models", 503)
    assert refusal(client, "analyze").startswith(
        f"error: {ASKED}: no such folder, and the Hub cannot be asked for it: Server error '503"
    )
    assert [request for request in hub.requests if ASKED in request] == [f"GET /api/models/{ASKED}"]
