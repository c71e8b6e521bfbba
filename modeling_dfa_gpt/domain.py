"""Which faces a model knows: a picture unlike those that it was trained on gets no verdict.

A face is described by the orientations of its edges (histograms of oriented gradients, Dalal and Triggs, 2005), and
judged by its distance from the principal subspace of the known faces (Turk and Pentland, 1991). What the vision tower
gives was tried first: a small tower, trained on drawings alone, tells them from photographs in half of the cases only.
A face that was reduced, or saved as a poor JPEG, keeps its edges and loses its fine detail, and a model easily calls it
forged. Therefore the fine detail of a face is compared with that of the training faces, too.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Self
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dfa_instruct.records import Pixels
from dfa_instruct.sources.pictures import read_image
from dfa_instruct.sources.sample import SAMPLE

DOMAIN_FILE: Final = "domain.npz"
SIDE: Final = 128
"""Pixels that a face is resized to before it is described."""
CELL: Final = 16
"""Side of a cell of the gradient histograms, in pixels."""
BLUR: Final = 0.7
"""Sigma in pixels of the blur before a face is described: otherwise grain passes for edges in all directions."""
COMPONENTS: Final = 64
KNOWN: Final = 99.5
"""Percentile of the distances of held-out faces, up to which a face is like those that a model was trained on."""
KNOWN_DRAWN: Final = 98
"""The same for drawn portraits: a photograph must not be taken for one."""
KNOWN_DETAIL: Final = 99.9
"""The same for their fine detail."""
MOST_FACES: Final = 2000
"""Of a split, drawn at random, from which is learned."""
LEAST_FACES: Final = 20
JPEG_QUALITY: Final = 75
"""Each face is learned from twice: as it is, and saved as a JPEG of this quality."""
FINE: Final = (1 / 4, 3 / 8, 1 / 2)
"""Where the bands of fine detail begin, in cycles per pixel; the last one reaches to the corners of the spectrum."""
DRAWN_PEOPLE: Final = (450, 150)
"""Drawn to learn what drawn portraits look like: people to learn from, and held-out people."""

Descriptions = NDArray[np.float32]
"""Histograms of oriented gradients, shape (N, 1764): 7 x 7 blocks of 4 cells of 9 bins."""


@dataclass(frozen=True)
class Domain:
    """A set of faces.

    Attributes:
        mean, scale: of each value of a description, shape (1764,).
        components: unit vectors of the principal subspace, shape (K, 1764).
        limit: the distance from the subspace up to which a face belongs to the set, shape ().
    """

    mean: Descriptions
    scale: Descriptions
    components: Descriptions
    limit: Descriptions

    @classmethod
    def fit(cls, faces: Iterable[Image.Image], held_out: Iterable[Image.Image], percentile: float = KNOWN) -> Self:
        """Learn a set of faces.

        Args:
            faces: aligned faces, from which the subspace is learned.
            held_out: faces of other people, from which the limit is learned.
            percentile: of their distances, up to which a face belongs to the set.
        """
        from sklearn.decomposition import PCA

        known = _describe(_with_jpeg(faces))
        mean, scale = known.mean(0), known.std(0) + 1e-3 * known.std()
        pca = PCA(min(COMPONENTS, len(known) // 2), svd_solver="randomized", random_state=0).fit((known - mean) / scale)
        subspace = (mean, scale, pca.components_)
        limit = np.percentile(_distances(_describe(_with_jpeg(held_out)), *subspace), percentile)
        return cls(*(np.asarray(part, np.float32) for part in (*subspace, limit)))

    def contains(self, face: Image.Image) -> bool:
        """Tell whether an aligned face belongs to the set."""
        return bool(_distances(_describe([face]), self.mean, self.scale, self.components)[0] <= self.limit)

    def __post_init__(self) -> None:
        if {self.mean.shape, self.scale.shape, self.components.shape[1:]} != {(1764,)}:
            raise ValueError("the shapes of the arrays do not fit together")
        if not all(np.isfinite(getattr(self, part.name)).all() for part in fields(self)):
            raise ValueError("a value is not finite")


@dataclass(frozen=True)
class FineDetail:
    """How much fine detail a set of faces has.

    Attributes:
        spectra: the logarithm of the mean power in each band of `FINE`, of each face, shape (N, 3).
        limit: the distance to the nearest of them, up to which a face is as detailed as one of the set, shape ().
    """

    spectra: NDArray[np.float32]
    limit: NDArray[np.float32]

    @classmethod
    def fit(cls, faces: Iterable[Image.Image], held_out: Iterable[Image.Image]) -> Self:
        """Learn the fine detail of aligned faces, and the limit from faces of other people."""
        spectra = np.stack([_spectrum(face) for face in faces])
        distances = [_nearest(spectra, face) for face in held_out]
        return cls(spectra, np.asarray(np.percentile(distances, KNOWN_DETAIL), np.float32))

    def contains(self, face: Image.Image) -> bool:
        """Tell whether an aligned face is as detailed as one of the set."""
        return bool(_nearest(self.spectra, face) <= self.limit)

    def __post_init__(self) -> None:
        if self.spectra.shape[1:] != (len(FINE),) or self.limit.shape:
            raise ValueError("the shapes of the arrays do not fit together")
        if not (np.isfinite(self.spectra).all() and np.isfinite(self.limit)):
            raise ValueError("a value is not finite")


@dataclass(frozen=True)
class KnownFaces:
    """The faces that a model knows.

    Attributes:
        trained: those that it was trained on.
        drawn: the portraits that this package draws, which a model of photographs must not judge; None where it was
            trained on drawn portraits itself.
        detail: the fine detail of the faces that it was trained on; None: not learned, and not compared.
    """

    trained: Domain
    drawn: Domain | None = None
    detail: FineDetail | None = None

    @classmethod
    def learn(cls, data: Path | None) -> Self | None:
        """Learn from the training split of a dataset folder, and the limit from its validation split.

        Returns:
            None where one of the splits has fewer than `LEAST_FACES` faces.
        """
        from dfa_instruct.bench.runner import load_rows

        training, validation = (load_rows(data, MOST_FACES, split) for split in ("train", "validation"))
        if min(len(training), len(validation)) < LEAST_FACES:
            return None
        drawn = any(row["source"] == SAMPLE for row in training)
        return cls(
            Domain.fit(_pictures(training), _pictures(validation)),
            None if drawn else drawn_portraits(),
            FineDetail.fit(_pictures(training), _pictures(validation)),
        )

    def contains(self, face: Image.Image) -> bool:
        """Tell whether an aligned face is like those that the model was trained on."""
        return not self.reason_against(face, "")

    def reason_against(self, face: Image.Image, trained_on: str) -> str:
        """Say why an aligned face should get no verdict; empty where it is like those that the model was trained on.

        Args:
            face: the aligned face.
            trained_on: what the model was trained on, in words.
        """
        unlike = f"unlike what this model was trained on ({trained_on})"
        if not self.trained.contains(face) or (self.drawn and self.drawn.contains(face)):
            return unlike
        if self.detail and not self.detail.contains(face):
            return f"{unlike} in its fine detail: it may have been reduced, enlarged or compressed"
        return ""

    def write(self, folder: Path) -> None:
        """Write it into a model's folder, in half precision where half is enough."""
        arrays = {
            f"{name}.{part.name}": getattr(known, part.name).astype(np.float16 if part.name == "components" else None)
            for name, known in (("trained", self.trained), ("drawn", self.drawn), ("detail", self.detail))
            if known
            for part in fields(known)
        }
        with (folder / DOMAIN_FILE).open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            ValueError: the file is not as `write` writes it.
        """
        try:
            with np.load(file, allow_pickle=False) as stored:
                found: dict[str, Any] = {
                    name: kind(*(stored[f"{name}.{part.name}"].astype(np.float32) for part in fields(kind)))
                    for name, kind in (("trained", Domain), ("drawn", Domain), ("detail", FineDetail))
                    if f"{name}.limit" in stored
                }
            return cls(**found)
        except (OSError, KeyError, ValueError, TypeError, BadZipFile, EOFError) as error:
            raise ValueError(f"{file}: cannot be read as a file that dfa-gpt calibrate writes: {error}") from error


def read_known_faces(name: str | Path) -> KnownFaces | None:
    """Read the faces that the model of a folder or Hub repository knows; None where this was not learned."""
    from transformers.utils import cached_file

    file = cached_file(
        str(name),
        DOMAIN_FILE,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return KnownFaces.read(Path(file)) if file else None


def drawn_portraits() -> Domain:
    """Learn what the portraits look like that this package draws."""
    from dfa_instruct.sources.portraits.drawing import draw_sample

    learned, held_out = DRAWN_PEOPLE
    faces = [Image.fromarray(face.image) for face in draw_sample(learned + held_out, pictures=1, size=SIDE)]
    return Domain.fit(faces[:learned], faces[learned:], KNOWN_DRAWN)


def _pictures(rows: Iterable[dict[str, Any]]) -> Iterator[Image.Image]:
    return (Image.fromarray(read_image(row["image"]["bytes"], smallest=1)) for row in rows)


def _describe(faces: Iterable[Image.Image]) -> Descriptions:
    hog = cv2.HOGDescriptor((SIDE, SIDE), (2 * CELL, 2 * CELL), (CELL, CELL), (CELL, CELL), 9)
    described = []
    for face in faces:
        described.append(np.asarray(hog.compute(cv2.GaussianBlur(_resized(face), (0, 0), BLUR))).ravel())
    return np.stack(described)


def _resized(face: Image.Image) -> Pixels:
    """Bring an aligned face to SIDE x SIDE pixels."""
    if face.size != (SIDE, SIDE):
        smooth = Image.Resampling.BICUBIC if face.width < SIDE else Image.Resampling.BOX
        face = face.resize((SIDE, SIDE), smooth)
    return np.asarray(face)


def _spectrum(face: Image.Image) -> NDArray[np.float32]:
    """Return the logarithm of a face's mean power in each band of `FINE`, shape (3,)."""
    grey = cv2.cvtColor(_resized(face), cv2.COLOR_RGB2GRAY).astype(np.float32)
    window = np.hanning(SIDE)  # else the picture's borders, which do not fit together, would count as detail
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * np.outer(window, window))) ** 2
    band = np.digitize(np.hypot(*np.meshgrid(np.fft.rfftfreq(SIDE), np.fft.fftfreq(SIDE))), FINE)
    means = [power[band == number].mean() for number in range(1, len(FINE) + 1)]
    return np.log(np.asarray(means, np.float32) + 1)


def _nearest(spectra: NDArray[np.float32], face: Image.Image) -> float:
    """Return the distance of a face's spectrum from the nearest of others."""
    return float(np.linalg.norm(spectra - _spectrum(face), axis=1).min())


def _distances(
    described: Descriptions, mean: Descriptions, scale: Descriptions, components: Descriptions
) -> Descriptions:
    """Return the mean squared distance of descriptions from a subspace, shape (N,)."""
    standard = (described - mean) / scale
    return np.asarray(((standard - standard @ components.T @ components) ** 2).mean(1))


def _with_jpeg(faces: Iterable[Image.Image]) -> Iterator[Image.Image]:
    for face in faces:
        yield face
        buffer = io.BytesIO()
        face.save(buffer, format="JPEG", quality=JPEG_QUALITY)
        yield Image.open(buffer).convert("RGB")
