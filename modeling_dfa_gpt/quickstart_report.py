"""Write the report of the quickstart: the data, the training, the metrics, and one conversation per category."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dfa_instruct.bench.report.markdown import conversation_table, localisation_table, metrics_table
from dfa_instruct.bench.report.plots import plot_confusion
from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.verify.show import contact_sheet
from dfa_instruct.vocabulary import CATEGORIES
from modeling_dfa_gpt.calibration import Calibration

MAPS = 6
CONVERSATION = (
    "Has this face been forged?",
    "What kind of technique is used to manipulate the image?",
    "Describe the artifacts in this face.",
    "Can I rely on this verdict?",
)


def write_report(output: Path, results: dict[str, Any], calibration: Calibration) -> None:
    """Write `report.md` and its pictures (`images/`) into a quickstart's folder."""
    from datasets import load_dataset

    images = output / "images"
    images.mkdir(exist_ok=True)
    test = load_dataset(DATASET_NAME, data_dir=str(output / DATASET_NAME), split="test")
    contact_sheet(str(output / DATASET_NAME)).save(images / "faces.png")
    plot_loss(output / "adapter" / "trainer_state.json", images / "loss.png")
    plot_confusion(results["predictions"], images / "confusion.png")
    maps = draw_maps(output, images / "map.png")
    sections = [
        "# DFA-GPT quickstart",
        "This model has a few million parameters and was trained in minutes. Its metrics show that the whole chain "
        f"works, not how well forgeries can be detected. {calibration.training_data()}",
        "## Faces and their forgeries",
        "![Forgeries beside their bona fide faces, with the measured evidence](images/faces.png)",
        f"## DFA-Bench\n\n{metrics_table(results)}",
        "\n".join(f"- {sentence}." for sentence in results["warnings"]),
        "![Confusion matrices of DF-D and DF-C](images/confusion.png)",
        "Conversations of four turns (`dfa_instruct/bench/experiments/conversation.py`), in percent: answers of the "
        "kind that was asked for, conversations that contradict themselves, named regions that are in the evidence, "
        "regions in the evidence that are named, bona fide faces for which an artifact is claimed, and lists that name "
        f"a region twice.\n\n{conversation_table(results['conversation'])}",
        "The map of where a face was changed, on the forgeries whose changed pixels are known, beside the mean map of "
        "the training split and the attention of the vision tower: the area under the ROC curve of the pixels, the "
        "intersection over union, and how often the maximum lies on a changed pixel, in percent.\n\n"
        f"{localisation_table(results['localisation'])}",
        "![Forgeries, their changed pixels, and the map](images/map.png)" if maps else "",
        "## Training\n\n![Training loss of the adapter](images/loss.png)",
        f"## Conversations\n\n{conversations(output, test, images)}",
        f"## Counts\n\n```json\n{json.dumps({k: results[k] for k in ('counts', 'seconds')}, indent=2)}\n```",
        "## Talk to it\n\n"
        f"    dfa-gpt chat {output / 'adapter'} {images / 'conversation_1.png'}\n\n"
        f"    dfa-gpt analyze {output / 'adapter'} {images / 'conversation_1.png'}",
    ]
    (output / "report.md").write_text("\n\n".join(sections) + "\n", encoding="utf-8")


def draw_maps(output: Path, target: Path) -> bool:
    """Draw `MAPS` test forgeries, each beside its changed pixels and the model's map. Return whether there are any."""
    from dfa_instruct.bench.localisation import localised_faces
    from modeling_dfa_gpt.app.drawing import changed_overlay
    from modeling_dfa_gpt.dfa_gpt import DfaGpt
    from modeling_dfa_gpt.picture import OpenedFace

    model = DfaGpt.from_pretrained(output / "adapter")
    forged = [(face, mask) for face, mask in localised_faces(output / DATASET_NAME, "test") if mask.any()]
    if model.forgery_map is None or not forged:
        return False
    rows = []
    for face, mask in forged[:: max(1, len(forged) // MAPS)][:MAPS]:
        changed = model.forgery_map.changed(model, OpenedFace(face, 1, aligned=True))
        pictures = (face, Image.fromarray(mask).convert("RGB"), changed_overlay(face, changed))
        rows.append(np.concatenate([np.asarray(picture) for picture in pictures], axis=1))
    Image.fromarray(np.concatenate(rows)).save(target)
    return True


def plot_loss(state: Path, target: Path) -> None:
    """Plot the training loss from a `trainer_state.json`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 2.8), layout="constrained")
    axes = figure.subplots()
    history = [entry for entry in json.loads(state.read_text())["log_history"] if "loss" in entry]
    axes.plot([entry["step"] for entry in history], [float(entry["loss"]) for entry in history])
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None))
    figure.savefig(target, dpi=110)


def conversations(output: Path, test: Any, images: Path) -> str:
    """Ask the model about the first test face of each category, and return the conversations as Markdown."""
    from modeling_dfa_gpt.dfa_gpt import Conversation, DfaGpt

    model = DfaGpt.from_pretrained(output / "adapter")
    categories = test["category"]
    chosen = [categories.index(c) for c in CATEGORIES if c in categories]
    sections = []
    for number, index in enumerate(chosen, start=1):
        row = test[index]
        row["image"].save(images / f"conversation_{number}.png")
        conversation = Conversation(model, row["image"])  # the face is already aligned
        turns = [f"**you**: {question}\n\n**DFA-GPT**: {conversation.ask(question)}" for question in CONVERSATION]
        truth = CATEGORIES[row["category"]] + (f" ({row['technique']})" if row["technique"] else "")
        sections.append(
            f"![A face](images/conversation_{number}.png)\n\nGround truth: {truth}.\n\n" + "\n\n".join(turns)
        )
    return "\n\n---\n\n".join(sections)


def print_summary(output: Path, results: dict[str, Any], warning: str) -> None:
    """Print the metrics, what was dropped, how reliable the verdicts are, and how to continue."""
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    console.print(Markdown(f"**DFA-Bench (percent)**\n\n{metrics_table(results)}"))
    console.print(Markdown(f"**Conversations (percent)**\n\n{conversation_table(results['conversation'])}"))
    for reason, count in results["counts"]["dropped"].items():
        print(f"dropped {count}: {reason}")
    print(f"{sum(results['counts']['images'].values())} images in {results['seconds']['all']:.0f} s")
    print(f"report: {output / 'report.md'}")
    if tested := results["calibration"]["tested"]:
        print(
            f"verdict: balanced accuracy {tested['balanced_acc']:.1f} % on {tested['people']} people that are not in "
            f"the training data (95 % interval {tested['low']:.1f} to {tested['high']:.1f})"
        )
    if warning:
        print(warning)
    print(f"talk to it: dfa-gpt chat {output / 'adapter'} {output / 'images' / 'conversation_1.png'}")
