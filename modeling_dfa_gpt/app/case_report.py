"""The report of a case as one HTML file. Its style sheet also lays it out for printing, or for saving as a PDF."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from markupsafe import Markup

from dfa_instruct.bench.results import model_name
from dfa_instruct.vlm.load import naming
from modeling_dfa_gpt.app.case import Case
from modeling_dfa_gpt.app.drawing import TEMPLATES, template_values, video_html
from modeling_dfa_gpt.app.video import Frame
from modeling_dfa_gpt.calibration import Calibration


def model_facts(name: str) -> dict[str, str]:
    """Return what identifies a model and its training data, as far as the files in its folder state it.

    Args:
        name: The model's folder, or its Hub id.

    Raises:
        OSError, ValueError: A file of the model cannot be read.
    """
    from huggingface_hub import snapshot_download

    folder, facts = Path(name), {"model": model_name(name)}
    if not folder.is_dir():
        folder = Path(snapshot_download(name, local_files_only=True))  # the model was loaded from there
        facts["commit on the Hub"] = folder.name
    for weights in sorted(folder.glob("*.safetensors")):
        with naming(name), weights.open("rb") as file:
            facts[f"SHA-256 of {weights.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    if (folder / "run.json").is_file():
        with naming(name):
            run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        facts["base model"] = " ".join([model_name(run["base"]["name"]), run["base"]["commit"] or ""]).strip()
        facts["training data"] = f"{run['data']['rows']} rows, SHA-256 {run['data']['sha256']}"
        facts["commit of the code"] = run["commit"] or "unknown"
        facts["versions"] = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
    return facts


def report_html(case: Case, calibration: Calibration, facts: dict[str, str], frames: Sequence[Frame] = ()) -> str:
    """Render the report of a case.

    Args:
        case: The case, after its analysis.
        calibration: The calibration of the model that analyzed it.
        facts: The result of `model_facts`.
        frames: All analyzed frames of the video, if the case is one of its frames.
    """
    return TEMPLATES.get_template("report.html.jinja").render(
        **template_values(case, calibration, in_report=True),
        facts=facts,
        now=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        frames=frames,
        timeline=Markup(video_html(frames, calibration)) if frames else "",
    )
