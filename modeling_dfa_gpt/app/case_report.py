"""The report of a case: one HTML file that holds all it shows, for a case file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dfa_instruct.vlm.load import naming
from modeling_dfa_gpt.app.case import Case
from modeling_dfa_gpt.app.drawing import TEMPLATES, context, style, video_html
from modeling_dfa_gpt.app.video import Frame
from modeling_dfa_gpt.calibration import Calibration


def model_facts(name: str) -> dict[str, str]:
    """Return what identifies a model and the data it learned from, as far as its folder says it.

    Raises:
        OSError, ValueError: a file of it cannot be read.
    """
    from huggingface_hub import snapshot_download

    folder, facts = Path(name), {"model": _without_path(name)}
    if not folder.is_dir():
        folder = Path(snapshot_download(name, local_files_only=True))  # where it was loaded from
        facts["commit on the Hub"] = folder.name
    for weights in sorted(folder.glob("*.safetensors")):
        with naming(name), weights.open("rb") as file:
            facts[f"SHA-256 of {weights.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    if (folder / "run.json").is_file():
        with naming(name):
            run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        facts["base model"] = " ".join([_without_path(run["base"]["name"]), run["base"]["commit"] or ""]).strip()
        facts["training data"] = f"{run['data']['rows']} rows, SHA-256 {run['data']['sha256']}"
        facts["commit of the code"] = run["commit"] or "unknown"
        facts["versions"] = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
    return facts


def _without_path(name: str) -> str:
    """Return a Hub id as it is, and of a folder its name: a report says nothing of where things lie on a disk."""
    return Path(name).resolve().name if Path(name).is_absolute() or Path(name).exists() else name


def report_html(case: Case, calibration: Calibration, facts: dict[str, str], frames: Sequence[Frame] = ()) -> str:
    """Write the report of a case.

    Args:
        case: whose face was analysed.
        calibration: of the model that did it.
        facts: see `model_facts`.
        frames: of the video, where the case is one of them.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    known: dict[str, Any] = context(case, calibration, printed=True)
    timeline = Markup(video_html(frames, calibration)) if frames else ""
    return TEMPLATES.get_template("report.html.jinja").render(
        **known, facts=facts, now=now, style=style(), frames=frames, timeline=timeline
    )
