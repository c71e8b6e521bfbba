"""Pairs: which bona fide picture a forgery was made from, by the pixels, and which pair is none.

A source proposes the pair, by the frame's number (`dfa_instruct.sources.clips`) or a table; here it is judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from dfa_instruct.face.colour import to_lab
from dfa_instruct.face.regions import outside
from dfa_instruct.records import Face, FaceRecord, Landmarks, Pixels
from dfa_instruct.vocabulary import Split

SAME_PICTURE: Final = 0.8
"""Likeness outside of the face from which on two squares may be of one picture. On photographs of 128 pixels, JPEG at
quality 5 leaves 0.89 and a shift of a pixel 0.93 at least; one of 3 pixels, from where on regions are named that were
not touched, leaves 0.71 and another person 0.03 (medians)."""


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
    """Tell how much two squares are of one picture outside of the face, whatever has become of its colours.

    Args:
        image: shape (size, size, 3).
        other: of the same shape.
        landmarks: of the face, shape (81, 2); without them the whole square counts.

    Returns:
        The correlation of lightness with what surrounds it, all neighbourhoods together: 1 for the same structures in
        the same places, about 0 for another picture. Where neither has any structure, they are alike.
    """
    size = image.shape[0]

    def around(values: NDArray[np.float32], reach: float = 0.02) -> NDArray[np.float32]:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), reach * size), np.float32)

    one, two = (around(to_lab(square)[..., 0], 0.012) for square in (image, other))
    rest = np.ones((size, size), np.bool_) if landmarks is None else outside(landmarks, size)
    means = around(one), around(two)
    flat = 0.5  # what noise leaves of structure
    of_one = float((around(one * one) - means[0] ** 2)[rest].mean()) + flat
    of_two = float((around(two * two) - means[1] ** 2)[rest].mean()) + flat
    shared = float((around(one * two) - means[0] * means[1])[rest].mean()) + flat
    return shared / float(np.sqrt(of_one * of_two))


def most_alike(squares: Iterable[tuple[Pixels, Face]]) -> int | None:
    """Choose the bona fide frame that a forgery looks most like outside of the face.

    Args:
        squares: of each frame the forgery, cut out where the frame's face lies, and the frame.

    Returns:
        The number of the frame; none where the forgery is like none of them.
    """
    best, most = None, SAME_PICTURE
    for number, (square, frame) in enumerate(squares):
        alike = similarity(square, frame.image, frame.landmarks)
        if alike > most:
            best, most = number, alike
    return best


def is_false_pair(forgery: Face, bona_fide: Face) -> bool:
    """Tell whether a forgery differs all over from the face that its frame's number names: it was made from another."""
    landmarks = pair_landmarks(forgery, bona_fide)
    return landmarks is not None and similarity(forgery.image, bona_fide.image, landmarks) < SAME_PICTURE


def without_pair(forgery: Face) -> Face:
    """Return a forgery whose pair was refused: it has none."""
    return replace(forgery, pair_id=None, pairing="refused")


def forgeries_without_pair(
    face_ids: Sequence[str],
    pair_ids: Sequence[str | None],
    splits: Sequence[Split | None],
    stands: Sequence[bool],
) -> list[int]:
    """Find the forgeries that stand while their bona fide does not, or stands in another split.

    Args:
        face_ids: of all faces.
        pair_ids: of each the `face_id` of its bona fide.
        splits: of all faces.
        stands: whether a face has not been dropped.
    """
    split_of = {face_id: split for face_id, split, own in zip(face_ids, splits, stands, strict=True) if own}
    return [
        i
        for i, pair_id in enumerate(pair_ids)
        if stands[i] and pair_id is not None and split_of.get(pair_id) != splits[i]
    ]
