"""Recognise faces unlike those that a model was trained on. The model gives no verdict on them.

A face is described by the orientations of its edges (histograms of oriented gradients, Dalal and Triggs, 2005). It is
known if this description is close to the principal subspace of the training faces (Turk and Pentland, 1991). The
features of the vision tower do not work: a small tower that was trained on drawings only separates drawings from
photographs in half of the cases.

A face that was downscaled, or saved as a poor JPEG, keeps its edges but loses its fine detail, and a model then easily
calls it forged. Therefore its fine detail is also compared with that of the training faces.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
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
from dfa_instruct.vlm.load import optional_file

DOMAIN_FILE: Final = "domain.npz"
SIDE: Final = 128
"""Side in pixels to which a face is resized before it is described."""
CELL: Final = 16
"""Side of a cell of the gradient histograms in pixels."""
BLUR: Final = 0.7
"""Sigma in pixels of the blur before a face is described. Without it, grain looks like edges in all directions."""
COMPONENTS: Final = 64
FOLDS: Final = 5
"""The limits are learned by cross-validation with this number of folds. Each person is in one fold."""
KNOWN_PERCENTILE: Final = 99.5
"""Percentile of the distances of faces in folds that were left out. A face is known if its distance is below it."""
DRAWN_PERCENTILE: Final = 98
"""The same for drawn portraits. It is lower because a photograph must not be taken for a drawing."""
DETAIL_PERCENTILE: Final = 99.9
"""The same for the fine detail."""
MAX_FACES: Final = 2000
"""Number of faces of a split that are used. They are drawn at random."""
MIN_PEOPLE: Final = 20
JPEG_QUALITY: Final = 75
"""Each face is also used as a JPEG of this quality."""
BAND_EDGES: Final = (1 / 4, 3 / 8, 1 / 2)
"""Lower edges of the bands of fine detail, in cycles per pixel. The last band extends to the corners."""
DRAWN_PEOPLE: Final = 600
"""Number of people that are drawn to learn drawn portraits."""

Descriptions = NDArray[np.float32]
"""Histograms of oriented gradients, shape (N, 1764): 7 x 7 blocks of 4 cells of 9 bins."""


@dataclass(frozen=True)
class Domain:
    """A set of faces, described by their edges.

    Attributes:
        mean, scale: Mean and scale of each value of the descriptions, shape (1764,).
        components: Unit vectors of the principal subspace, shape (K, 1764).
        limit: Greatest distance from the subspace at which a face belongs to the set, shape ().
    """

    mean: Descriptions
    scale: Descriptions
    components: Descriptions
    limit: Descriptions

    @classmethod
    def fit(cls, faces: Iterable[Image.Image], people: Sequence[str], percentile: float = KNOWN_PERCENTILE) -> Self:
        """Learn a set of faces.

        Args:
            faces: Aligned faces.
            people: The person of each face.
            percentile: Percentile of the cross-validated distances that is the limit.
        """
        described = _describe(_with_jpeg(faces))
        distances = np.empty(len(described))
        for known, left_out in _folds(np.repeat(people, 2)):
            distances[left_out] = _distances(described[left_out], *_subspace(described[known]))
        limit = np.percentile(distances, percentile)
        return cls(*(np.asarray(part, np.float32) for part in (*_subspace(described), limit)))

    def contains(self, face: Image.Image) -> bool:
        """Return whether an aligned face belongs to the set."""
        return bool(_distances(_describe([face]), self.mean, self.scale, self.components)[0] <= self.limit)

    def __post_init__(self) -> None:
        if {self.mean.shape, self.scale.shape, self.components.shape[1:]} != {(1764,)}:
            raise ValueError("the shapes of the arrays do not match")
        _check_finite(self)


@dataclass(frozen=True)
class FineDetail:
    """The fine detail of a set of faces.

    Attributes:
        spectra: Logarithm of the mean power in each band of `BAND_EDGES` for each face, shape (N, 3).
        limit: Greatest distance to the nearest of them at which a face is as detailed as the set, shape ().
    """

    spectra: NDArray[np.float32]
    limit: NDArray[np.float32]

    @classmethod
    def fit(cls, faces: Iterable[Image.Image], people: Sequence[str]) -> Self:
        """Learn the fine detail of aligned faces of these people."""
        spectra = np.stack([_spectrum(face) for face in faces])
        distances = np.empty(len(spectra))
        for known, left_out in _folds(people):
            distances[left_out] = [_nearest(spectra[known], spectrum) for spectrum in spectra[left_out]]
        return cls(spectra, np.asarray(np.percentile(distances, DETAIL_PERCENTILE), np.float32))

    def contains(self, face: Image.Image) -> bool:
        """Return whether an aligned face is as detailed as the set."""
        return bool(_nearest(self.spectra, _spectrum(face)) <= self.limit)

    def __post_init__(self) -> None:
        if self.spectra.shape[1:] != (len(BAND_EDGES),) or self.limit.shape:
            raise ValueError("the shapes of the arrays do not match")
        _check_finite(self)


@dataclass(frozen=True)
class KnownFaces:
    """What is kept of the training faces, to decide whether another face is like them.

    Attributes:
        trained: The edges of the training faces.
        drawn: The edges of the portraits that this package draws. A face like these portraits gets no verdict. None if
            the model was trained on such portraits.
        detail: The fine detail of the training faces, or None if it was not learned.
    """

    trained: Domain
    drawn: Domain | None = None
    detail: FineDetail | None = None

    @classmethod
    def learn(cls, data: Path | None) -> Self | None:
        """Learn from the training split of a dataset folder, with the limits from its validation split.

        Returns:
            The known faces, or None if there are fewer than `MIN_PEOPLE` people.
        """
        from dfa_instruct.bench.runner import load_rows

        rows = [row for split in ("train", "validation") for row in load_rows(data, MAX_FACES, split)]
        people = [row["identities"][0] for row in rows]
        if len(set(people)) < MIN_PEOPLE:
            return None
        is_drawn = any(row["source"] == SAMPLE for row in rows)
        return cls(
            Domain.fit(_pictures(rows), people),
            None if is_drawn else learn_drawn_portraits(),
            FineDetail.fit(_pictures(rows), people),
        )

    def reason_against(self, face: Image.Image, trained_on: str) -> str:
        """Return why an aligned face should get no verdict. The reason is empty if it is like the training faces.

        Args:
            face: The aligned face.
            trained_on: What the model was trained on, in words.
        """
        unlike = f"unlike what this model was trained on ({trained_on})"
        if not self.trained.contains(face) or (self.drawn and self.drawn.contains(face)):
            return unlike
        if self.detail and not self.detail.contains(face):
            return f"{unlike} in its fine detail: it may have been reduced, enlarged or compressed"
        return ""

    def write(self, folder: Path) -> None:
        """Write the known faces into a model's folder, with the components in half precision."""
        arrays = {
            f"{name}.{part.name}": getattr(known, part.name).astype(np.float16 if part.name == "components" else "f4")
            for name, known in (("trained", self.trained), ("drawn", self.drawn), ("detail", self.detail))
            if known
            for part in fields(known)
        }
        with (folder / DOMAIN_FILE).open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a file that `write` has written.

        Raises:
            ValueError: The file is not in the format of `write`.
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
    """Read the known faces of a model from its folder or Hub repository. Return None if they were not learned."""
    file = optional_file(name, DOMAIN_FILE)
    return KnownFaces.read(file) if file else None


def learn_drawn_portraits() -> Domain:
    """Learn the look of the portraits that this package draws."""
    from dfa_instruct.sources.portraits.drawing import draw_sample

    faces = list(draw_sample(DRAWN_PEOPLE, pictures=1, size=SIDE))
    people = [face.identities[0] for face in faces]
    return Domain.fit((Image.fromarray(face.image) for face in faces), people, DRAWN_PERCENTILE)


def _check_finite(arrays: Domain | FineDetail) -> None:
    if not all(np.isfinite(getattr(arrays, part.name)).all() for part in fields(arrays)):
        raise ValueError("a value is not finite")


def _pictures(rows: Iterable[dict[str, Any]]) -> Iterator[Image.Image]:
    return (Image.fromarray(read_image(row["image"]["bytes"], smallest=1)) for row in rows)


def _describe(faces: Iterable[Image.Image]) -> Descriptions:
    hog = cv2.HOGDescriptor((SIDE, SIDE), (2 * CELL, 2 * CELL), (CELL, CELL), (CELL, CELL), 9)
    blurred = (cv2.GaussianBlur(_resized(face), (0, 0), BLUR) for face in faces)
    return np.stack([np.asarray(hog.compute(face)).ravel() for face in blurred])


def _resized(face: Image.Image) -> Pixels:
    """Resize an aligned face to SIDE x SIDE pixels."""
    if face.size != (SIDE, SIDE):
        filter = Image.Resampling.BICUBIC if face.width < SIDE else Image.Resampling.BOX
        face = face.resize((SIDE, SIDE), filter)
    return np.asarray(face)


def _spectrum(face: Image.Image) -> NDArray[np.float32]:
    """Return the logarithm of a face's mean power in each band of `BAND_EDGES`, shape (3,)."""
    grey = cv2.cvtColor(_resized(face), cv2.COLOR_RGB2GRAY).astype(np.float32)
    window = np.hanning(SIDE)  # otherwise the step between opposite borders would count as detail
    power = np.abs(np.fft.rfft2((grey - grey.mean()) * np.outer(window, window))) ** 2
    band = np.digitize(np.hypot(*np.meshgrid(np.fft.rfftfreq(SIDE), np.fft.fftfreq(SIDE))), BAND_EDGES)
    means = [power[band == number].mean() for number in range(1, len(BAND_EDGES) + 1)]
    return np.log(np.asarray(means, np.float32) + 1)


def _nearest(spectra: NDArray[np.float32], spectrum: NDArray[np.float32]) -> float:
    """Return the distance from a spectrum to the nearest of `spectra`."""
    return float(np.linalg.norm(spectra - spectrum, axis=1).min())


def _folds(people: Sequence[str] | NDArray[Any]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the indices of the faces that are learned and of those that are left out, for each fold."""
    from sklearn.model_selection import GroupKFold

    return GroupKFold(FOLDS).split(people, groups=people)


def _subspace(described: Descriptions) -> tuple[Descriptions, Descriptions, Descriptions]:
    """Return the mean, scale and principal components of descriptions of faces."""
    from sklearn.decomposition import PCA

    mean, scale = described.mean(0), described.std(0) + 1e-3 * described.std()
    components = min(COMPONENTS, len(described) // 2)
    pca = PCA(components, svd_solver="randomized", random_state=0).fit((described - mean) / scale)
    return mean, scale, pca.components_


def _distances(
    descriptions: Descriptions, mean: Descriptions, scale: Descriptions, components: Descriptions
) -> Descriptions:
    """Return the mean squared distance of each description from a subspace, shape (N,)."""
    standard = (descriptions - mean) / scale
    return np.asarray(((standard - standard @ components.T @ components) ** 2).mean(1))


def _with_jpeg(faces: Iterable[Image.Image]) -> Iterator[Image.Image]:
    for face in faces:
        yield face
        buffer = io.BytesIO()
        face.save(buffer, format="JPEG", quality=JPEG_QUALITY)
        yield Image.open(buffer).convert("RGB")
