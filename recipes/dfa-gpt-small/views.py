"""Photographs are few: write several views of each, as the frames of a video would show a person.

    python recipes/dfa-gpt-small/views.py PHOTOGRAPHS VIEWS

VIEWS/<photograph>/<number>.jpg is the photograph turned, zoomed and lit a little differently, at another JPEG quality.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import typer
from PIL import Image, ImageEnhance

from dfa_instruct.sources.media import find_images, read_image


def main(photographs: Path, views: Path, count: int = 20, seed: int = 0) -> None:
    """Write `count` views of every photograph."""
    for path in find_images(photographs):
        rng = np.random.default_rng([seed, *path.stem.encode()])
        picture = Image.fromarray(read_image(path))
        (folder := views / path.stem).mkdir(parents=True)
        for number in range(count):
            width, height = picture.size
            turned = picture.rotate(rng.uniform(-8, 8), Image.Resampling.BICUBIC, fillcolor=(128, 128, 128))
            zoom = rng.uniform(0.8, 1.1)
            view = turned.resize((int(width * zoom), int(height * zoom)), Image.Resampling.LANCZOS)
            for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                view = enhance(view).enhance(rng.uniform(0.8, 1.2))
            view.save(folder / f"{number:02d}.jpg", quality=int(rng.integers(70, 97)))


if __name__ == "__main__":
    typer.run(main)
