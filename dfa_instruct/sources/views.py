"""Make several views of each photograph, so that a small collection has several pictures per person.

A view is the photograph with a slightly different zoom, light and JPEG quality. Views are made before any forgery, so
that bona fide and forged faces have the same processing history.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance
from tqdm import tqdm

from dfa_instruct.records import Pixels
from dfa_instruct.sources import IGNORED_REASONS
from dfa_instruct.sources.pictures import BadPictureError, read_image
from dfa_instruct.sources.walk import find_images, is_video, walk_files


def write_views(photographs: Path, views: Path, count: int, seed: int = 0) -> None:
    """Write `count` views of every photograph as `views/<person>/<photograph>-<number>.jpg`.

    The person is the photograph's subfolder, or the photograph itself if it is in no subfolder. Other files are passed
    on, so that the build reports them: videos, and photographs that do not decode, are copied; links point to the
    original; and files of other kinds become empty files with the same name.

    Raises:
        FileNotFoundError, ValueError: See `find_images`.
        FileExistsError: The folder of views is not empty.
    """
    found = find_images(photographs)
    if views.exists() and any(views.iterdir()):
        raise FileExistsError(f"{views} is not empty; use an empty or a new folder")
    refused: dict[str, str] = {}
    videos = list(filter(is_video, walk_files(photographs, refused.__setitem__)))
    for name in (*videos, *refused):
        (views / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in refused:
            shutil.copyfile(photographs / name, views / name)
        elif refused[name] in IGNORED_REASONS:
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
