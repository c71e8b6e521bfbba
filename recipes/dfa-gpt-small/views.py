"""Photographs are few: write several views of each, as the frames of a video would show a person.

    python recipes/dfa-gpt-small/views.py PHOTOGRAPHS VIEWS

VIEWS/<photograph>/<number>.jpg is the photograph turned, zoomed and lit a little differently, at another JPEG quality.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import typer
from PIL import Image, ImageEnhance

from dfa_instruct.sources.media import find_images, read_image


def main(photographs: Path, views: Path, count: int = 60, seed: int = 0) -> None:
    """Write `count` views of every photograph."""
    for path in find_images(photographs):
        rng = np.random.default_rng([seed, *path.stem.encode()])
        picture = read_image(path)
        height, width = picture.shape[:2]
        (folder := views / path.stem).mkdir(parents=True)
        for number in range(count):
            turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-8, 8), zoom := rng.uniform(0.8, 1.1))
            size = int(width * zoom), int(height * zoom)
            turn[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
            turned = cv2.warpAffine(picture, turn, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
            view = Image.fromarray(turned)
            for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                view = enhance(view).enhance(rng.uniform(0.8, 1.2))
            view.save(folder / f"{number:02d}.jpg", quality=int(rng.integers(70, 97)))


if __name__ == "__main__":
    typer.run(main)
