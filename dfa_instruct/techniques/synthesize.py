"""Entire face synthesis: new faces drawn from a statistical model of the training faces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dfa_instruct.records import FaceRecord, Forgery, Landmarks
from dfa_instruct.techniques.warp import border, piecewise_affine, usable
from dfa_instruct.vocabulary import Category

if TYPE_CHECKING:
    from sklearn.decomposition import PCA

FEWEST_FACES = 8


class Eigenfaces:
    """A mean face and the directions in which faces vary, in shape and in picture (Turk and Pentland, 1991).

    As in appearance models (Cootes et al., 2001), every face is warped to one shape before the pictures are compared.
    A new face draws a coefficient for each direction, and its picture is warped to its shape. `fit` once; the
    result is a technique like the others.
    """

    name: ClassVar[str] = "eigenface"
    category: ClassVar[Category] = "entire_face_synthesis"

    def __init__(self, mean_shape: Landmarks, shapes: PCA, pictures: PCA) -> None:
        """Take what `fit` learned.

        Args:
            mean_shape: the shape under which the pictures were compared, in pixels, shape (81, 2).
            shapes: of landmarks in pixels, flat (162).
            pictures: of pictures under the mean shape, flat (side · side · 3), 0 to 255.
        """
        self.mean_shape = mean_shape
        self.shapes = shapes
        self.pictures = pictures
        self.side = round((pictures.mean_.size / 3) ** 0.5)

    @classmethod
    def fit(cls, faces: Iterable[FaceRecord], components: int = 40, limit: int = 400, seed: int = 0) -> Self:
        """Learn from bona fide faces; profiles are left out.

        Args:
            faces: the training split, in an order that mixes people; aligned to one size, with landmarks.
            components: directions of variation to keep of the pictures, fewer where there are fewer faces.
            limit: faces to learn from at most. They are held in memory, side · side · 12 bytes each.
            seed: of the randomised decomposition.

        Raises:
            ValueError: there are too few faces to learn from.
        """
        from sklearn.decomposition import PCA

        kept: list[FaceRecord] = []
        shapes: list[Landmarks] = []
        for face in faces:
            try:
                shapes.append(usable(face)[1])
            except ValueError:
                continue
            kept.append(face)
            if len(kept) == limit:
                break
        if len(kept) < FEWEST_FACES:
            raise ValueError(f"eigenfaces need {FEWEST_FACES} faces that look ahead at least; {len(kept)} were given")
        mean_shape = np.stack(shapes).mean(0, dtype=np.float32)
        still = border(len(kept[0].image))
        destination = np.concatenate([mean_shape, still])
        pictures = []
        for face, shape in zip(kept, shapes, strict=True):
            try:
                pictures.append(piecewise_affine(face.image, np.concatenate([shape, still]), destination).reshape(-1))
            except ValueError:
                continue
        return cls(
            mean_shape,
            PCA(min(12, len(shapes) - 1), random_state=seed).fit(np.reshape(shapes, (len(shapes), -1))),
            PCA(min(components, len(pictures) - 1), svd_solver="randomized", random_state=seed).fit(
                np.array(pictures, np.float32)
            ),
        )

    def forge(self, target: FaceRecord | None, other: FaceRecord | None, rng: np.random.Generator) -> Forgery:
        """Draw a new face of the training faces' size; `target` and `other` are not looked at."""
        shape_code, picture_code = (_draw(pca, rng) for pca in (self.shapes, self.pictures))
        shape = self.shapes.inverse_transform(shape_code)[0].reshape(-1, 2).astype(np.float32)
        picture = self.pictures.inverse_transform(picture_code)[0].reshape(self.side, self.side, 3)
        still = border(self.side)
        image = piecewise_affine(
            np.rint(picture.clip(0, 255)).astype(np.uint8),
            np.concatenate([self.mean_shape, still]),
            np.concatenate([shape, still]),
        )
        return Forgery(image, shape, {"components": int(picture_code.size)})


def _draw(pca: PCA, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one coefficient a direction, normally distributed as in training, two deviations away at most."""
    deviations = np.clip(rng.standard_normal(pca.n_components_), -2, 2)
    return (deviations * np.sqrt(pca.explained_variance_)).astype(np.float32)[None]
