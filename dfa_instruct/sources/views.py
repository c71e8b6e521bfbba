"""Photographs are few: several views of each, as the frames of a video would show a person.

A view is the photograph zoomed and lit a little differently, at another JPEG quality. Views are made before
anything is forged, so that bona fide and forged faces have been through the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from tqdm import tqdm

from dfa_instruct.records import Pixels
from dfa_instruct.sources import PASSED_OVER
from dfa_instruct.sources.pictures import BadPictureError, read_image
from dfa_instruct.sources.walk import find_images, is_video, walk


def write_views(photographs: Path, views: Path, count: int, seed: int = 0) -> None:
    """Write `count` views of every photograph as `views/<person>/<photograph>-<number>.jpg`.

    The person is the photograph's subfolder, or the photograph itself where it lies in none. What is no photograph, or
    does not decode, is passed on for the build to name and count: videos as they are, links as links to the original,
    and an empty file in place of what the build knows by the end of its name.

    Raises:
        FileNotFoundError, ValueError: see `find_images`.
        FileExistsError: the folder of views holds something.
    """
    found = find_images(photographs)
    if views.exists() and any(views.iterdir()):
        raise FileExistsError(f"{views} holds something already; name an empty or a new folder")
    refused: dict[str, str] = {}
    videos = [f"{below}/{name}" for below, names in walk(photographs, refused.__setitem__) for name in names]
    for name in (*filter(is_video, videos), *refused):
        (views / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in refused:
            shutil.copyfile(photographs / name, views / name)
        elif refused[name] in PASSED_OVER:
            (views / name).touch()
        else:
            (views / name).symlink_to((photographs / name).absolute())
    for path in tqdm(found, "views", unit="photograph"):
        below = path.relative_to(photographs).parent
        folder = views / (below if below.parts else path.stem)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            picture = read_image(path)
        except BadPictureError:
            shutil.copyfile(path, folder / path.name)
            continue
        rng = np.random.default_rng([seed, *path.stem.encode()])
        for number in range(count):
            view, quality = _view(picture, rng), int(rng.integers(70, 97))
            view.save(folder / f"{path.stem}-{number:02d}.jpg", quality=quality)


def _view(picture: Pixels, rng: np.random.Generator) -> Image.Image:
    height, width = picture.shape[:2]
    zoom = rng.uniform(0.8, 1.1)
    view = Image.fromarray(picture).resize((round(width * zoom), round(height * zoom)), Image.Resampling.BICUBIC)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhance(view).enhance(rng.uniform(0.8, 1.2))
    return view
