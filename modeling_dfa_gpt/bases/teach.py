"""Train a vision tower to tell which patches are forged, and by which technique an image was forged.

A training step sees 16 pairs of a bona fide face and a forgery, see `modeling_dfa_gpt.bases.forged_pairs`. The tower of
the base for photographs is pretrained in this way, and `teach_base` trains it further on the user's own faces.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from dfa_instruct.dataset import DATASET_NAME
from dfa_instruct.vlm.parts import parts_of
from modeling_dfa_gpt.bases.forged_pairs import Pairs
from modeling_dfa_gpt.bases.tower import fit
from modeling_dfa_gpt.new_folder import check_new, new_folder

PAIRS = 16
"""The number of pairs in a step."""
OWN_STEPS = (100, 600)
"""The range of the number of steps on a dataset of one's own; see `steps_for`."""
OWN_FORGERIES = 0.5
"""The share of the forgeries that come from the dataset when `teach_base` trains the tower further."""


class ForgeryReader(torch.nn.Module):
    """A vision tower with a linear layer that predicts the forged patches, and the label and technique of the image.

    Args:
        tower: The vision tower.
        techniques: The number of techniques, bona fide included.
    """

    def __init__(self, tower: Any, techniques: int) -> None:
        super().__init__()
        self.tower = tower
        self.head = torch.nn.Linear(tower.config.hidden_size, 2 + techniques)

    def forward(self, pixel_values: torch.Tensor, forged: torch.Tensor, technique: torch.Tensor) -> dict[str, Any]:
        """Return the loss of a batch of `Pairs`."""
        from torch.nn.functional import binary_cross_entropy_with_logits as bce
        from torch.nn.functional import cross_entropy

        patches = self.tower(pixel_values.flatten(0, 1)).last_hidden_state
        of_patch = self.head(patches)[..., 0].unflatten(0, (-1, 2))
        of_image = self.head(patches.mean(1)).unflatten(0, (-1, 2))
        labels = torch.stack([torch.zeros_like(forged), forged], 1)
        is_forged = torch.tensor([0.0, 1.0]).to(of_image).expand(len(of_image), 2)
        techniques = torch.stack([torch.zeros_like(technique), technique], 1)
        loss = (
            bce(of_patch, labels)
            + bce(of_image[..., 1], is_forged)
            + 0.2 * cross_entropy(of_image[..., 2:].flatten(0, 1), techniques.flatten())
        )
        return {"loss": loss}


def teach_tower(tower: Any, pairs: Pairs, steps: int, learning_rate: float, work: Path) -> None:
    """Train a tower in place. If the process is killed, the same call resumes from the checkpoints.

    Args:
        tower: The vision tower.
        pairs: What it is trained on.
        steps: The number of steps of 16 pairs.
        learning_rate: The highest learning rate.
        work: A folder for checkpoints. Only checkpoints of the same training are used: the same tower at its start, the
            same faces, seed and number of steps.
    """
    training = hashlib.sha256("".join(pairs.index).encode())
    for weights in tower.state_dict().values():
        training.update(weights.float().numpy(force=True).tobytes())
    fit(
        ForgeryReader(tower, len(pairs.names)),
        pairs,
        work / f"tower-{training.hexdigest()[:16]}-{pairs.seed}-{steps}",
        max_steps=steps,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        seed=pairs.seed,
        label_names=["forged", "technique"],
        dataloader_num_workers=1,  # makes the next pairs during a step
    )


def steps_for(rows: Dataset, fewest: int, most: int) -> int:
    """Return the number of steps to train on a train split: one for each bona fide person, within a range.

    With more steps, a tower memorizes the people. With 20 people of FaceForensics++, the AUC on other people was
    highest after 50 to 100 of 150 steps; with 394 people of FFHQ, after 300 to 400 of 400.
    """
    of_rows = zip(rows["identities"], rows["label"], strict=True)
    people = {identity for identities, label in of_rows if label == "bona_fide" for identity in identities}
    return min(max(len(people), fewest), most)


def teach_base(base: Path, data: Path, output: Path, *, seed: int = 0, steps: int | None = None) -> None:
    """Train the vision tower of a base further on the user's own dataset, and write the new model.

    Half of the forgeries come from the dataset, and the others are made from its bona fide faces, because the tower
    would soon memorize the forgeries of a small dataset. If the process is killed, the same call resumes from the
    checkpoints in `<output>.work`.

    Args:
        base: The folder of a LLaVA model with the tower for photographs.
        data: The dataset folder.
        output: A new folder.
        seed: The seed of all random choices.
        steps: The number of steps of 16 pairs. None: see `steps_for`.

    Raises:
        FileExistsError: The output folder is not empty.
        OSError: The base does not exist.
        ValueError: The base has another tower, or the dataset does not exist.
    """
    from datasets import load_dataset
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    tower = AutoConfig.from_pretrained(base).vision_config.model_type
    if tower != "focalnet":
        raise ValueError(f"{base}: expected the vision tower for photographs, a focalnet, not a {tower}")
    check_new(output)
    train = load_dataset(DATASET_NAME, data_dir=str(data), split="train")
    steps = steps or steps_for(train, *OWN_STEPS)
    model, processor = AutoModelForImageTextToText.from_pretrained(base), AutoProcessor.from_pretrained(base)
    pairs = Pairs(train, processor.image_processor, steps * PAIRS, OWN_FORGERIES, seed)
    work = output.with_name(f"{output.name}.work")
    teach_tower(parts_of(model).vision, pairs, steps, 5e-4, work)
    with new_folder(output) as made:
        model.save_pretrained(made)
        processor.save_pretrained(made)
    shutil.rmtree(work)
