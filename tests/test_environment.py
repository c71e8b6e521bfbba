"""Secrets in the environment are stripped, refused if no header may contain them, and never shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dfa_instruct.cli import app
from dfa_instruct.environment import secret
from dfa_instruct.hub import explain_hub_errors, token_for_pushing


def test_white_space_around_a_token_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", " hf_abc\r\n")
    assert token_for_pushing() == "hf_abc"
    monkeypatch.setenv("HF_TOKEN", " \n")
    with pytest.raises(ValueError, match="HF_TOKEN is not set"):
        token_for_pushing()


@pytest.mark.parametrize("value", ["hf_abc\ndef", "hf_abc def", "hf_abc\x1bdef", "hf_äbc"])
def test_a_value_for_no_header_is_refused_and_not_shown(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    with pytest.raises(ValueError, match="HF_TOKEN: expected one word") as error:
        secret("HF_TOKEN")
    assert "hf_" not in str(error.value)


def test_a_push_does_not_show_the_token(monkeypatch: pytest.MonkeyPatch, dataset_folder: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abc\ndef")
    done = CliRunner().invoke(app, ["push", str(dataset_folder), "user/faces"])
    assert done.exit_code == 2 and not re.search("hf_abc|def", done.output), done.output
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    with pytest.raises(OSError, match=r"the Hub said \[HF_TOKEN\]"), explain_hub_errors("user/faces"):
        raise OSError("the Hub said hf_abc")
