"""Decide from the pixels which bona fide picture a forgery was made from, and refuse false pairs.

A source proposes the pair, from the number of the frame (`dfa_instruct.sources.clips`) or from a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.colour import to_lab
from dfa_instruct.face.regions import outside_face
from dfa_instruct.records import Face, FaceRecord, Landmarks, Pixels
from dfa_instruct.vocabulary import Split

SAME_PICTURE: Final = 0.8
"""The similarity outside the face above which two squares may show the same picture. Measured on photographs of 128
pixels (medians): JPEG of quality 5 gives at least 0.89 and a shift by 1 pixel 0.93. A shift by 3 pixels, at which the
evidence begins to name regions that were not changed, gives 0.71, and another person 0.03."""


def pair_landmarks(face: FaceRecord, bona_fide: FaceRecord | None) -> Landmarks | None:
    """Return the landmarks by which a pair is compared: those of the bona fide face, or else those of the forgery.

    Args:
        face: The forgery.
        bona_fide: The bona fide face that the forgery was made from, if there is one.

    Returns:
        Landmarks in pixels, shape (81, 2), or None if neither face has landmarks.
    """
    return face.landmarks if bona_fide is None or bona_fide.landmarks is None else bona_fide.landmarks


def similarity(image: Pixels, other: Pixels, landmarks: Landmarks | None = None) -> float:
    """Return the similarity of two squares outside the face, ignoring colour.

    Args:
        image: The pixels, shape (size, size, 3).
        other: The other pixels, of the same shape.
        landmarks: The landmarks of the face, shape (81, 2). Without them, the whole squares are compared.

    Returns:
        The correlation of the lightness around its local mean, over all neighbourhoods: 1 for the same structures in
        the same places (or if neither has any structure), about 0 for different pictures.
    """
    size = image.shape[0]

    def blur(values: NDArray[np.float32], radius: float = 0.02) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), radius * size), np.float32)

    one, two = (blur(to_lab(square)[..., 0], 0.012) for square in (image, other))
    outside = np.ones((size, size), np.bool_) if landmarks is None else outside_face(landmarks, size)
    mean_one, mean_two = blur(one), blur(two)
    noise = 0.5  # the variance that noise leaves in a flat picture
    variance_one = float((blur(one * one) - mean_one**2)[outside].mean()) + noise
    variance_two = float((blur(two * two) - mean_two**2)[outside].mean()) + noise
    covariance = float((blur(one * two) - mean_one * mean_two)[outside].mean()) + noise
    return covariance / float(np.sqrt(variance_one * variance_two))


def most_similar(squares: Iterable[tuple[Pixels, Face]]) -> int | None:
    """Return the index of the bona fide frame that is most similar to a forgery outside the face.

    Args:
        squares: For each frame, the forgery cropped to the place of the frame's face, and the frame.

    Returns:
        The index, or None if the forgery is similar to none of the frames.
    """
    best, best_similarity = None, SAME_PICTURE
    for number, (square, frame) in enumerate(squares):
        found = similarity(square, frame.image, frame.landmarks)
        if found > best_similarity:
            best, best_similarity = number, found
    return best


def is_false_pair(forgery: Face, bona_fide: Face) -> bool:
    """Return whether a forgery differs outside the face, so that it was made from another picture."""
    landmarks = pair_landmarks(forgery, bona_fide)
    return landmarks is not None and similarity(forgery.image, bona_fide.image, landmarks) < SAME_PICTURE


def without_pair(forgery: Face) -> Face:
    """Return a copy of a forgery whose pair was refused, without the pair."""
    return replace(forgery, pair_id=None, pairing="refused")


def forgeries_without_pair(
    face_ids: Sequence[str],
    pair_ids: Sequence[str | None],
    splits: Sequence[Split | None],
    kept: Sequence[bool],
) -> list[int]:
    """Return the indices of the kept forgeries whose bona fide face was dropped or is in another split.

    Args:
        face_ids: The `face_id` of each face.
        pair_ids: The `face_id` of the bona fide face of each face, or None.
        splits: The split of each face.
        kept: Whether each face has not been dropped.
    """
    split_by_id = {face_id: split for face_id, split, is_kept in zip(face_ids, splits, kept, strict=True) if is_kept}
    return [
        i
        for i, pair_id in enumerate(pair_ids)
        if kept[i] and pair_id is not None and split_by_id.get(pair_id) != splits[i]
    ]
