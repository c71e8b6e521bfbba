"""Which faces a model refuses: the test faces of the dataset that it learned from, and pictures in other folders.

python tests/benchmarks/domain.py runs/quickstart/dfa-instruct PHOTOGRAPHS GAN_FACES ...
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from dfa_instruct.bench.runner import load_rows
from dfa_instruct.sources.pictures import BadPictureError, read_image
from dfa_instruct.sources.walk import find_images
from modeling_dfa_gpt.calibration import alignment_margin
from modeling_dfa_gpt.domain import KnownFaces
from modeling_dfa_gpt.picture import open_faces

MOST = 300
"""Pictures of a folder, drawn at random."""


def main(
    data: Annotated[Path, typer.Argument(help="The dataset folder.")],
    folders: Annotated[list[Path], typer.Argument(help="Folders of pictures.")],
) -> None:
    """Print for the test split and for each folder how many of the faces are refused."""
    known, rows = KnownFaces.learn(data), load_rows(data)
    if known is None:
        raise SystemExit(f"{data}: too few faces to learn from")
    side, margin = read_image(rows[0]["image"]["bytes"]).shape[0], alignment_margin(rows)

    def report(name: str, pictures: Iterable[np.ndarray]) -> None:
        cut = [open_faces(Image.fromarray(picture), side, margin) for picture in pictures]
        single = [faces[0].image for faces in cut if len(faces) == 1 and faces[0].aligned]
        refused = sum(bool(known.reason_against(face, "")) for face in single)
        print(f"{name}: {refused} of {len(single)} refused ({100 * refused / max(1, len(single)):.1f} %)", flush=True)

    report("test split", (read_image(row["image"]["bytes"]) for row in rows))
    for folder in folders:
        files = find_images(folder)
        report(str(folder), readable(random.Random(0).sample(files, min(MOST, len(files)))))


def readable(files: Iterable[Path]) -> Iterable[np.ndarray]:
    """Yield the pictures that decode."""
    for file in files:
        try:
            yield read_image(file)
        except BadPictureError:
            continue


if __name__ == "__main__":
    typer.run(main)
