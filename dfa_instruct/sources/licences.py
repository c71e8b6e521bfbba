"""The licences of the sources, and whether they permit redistribution of the pictures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Licence:
    """The licence of a source's pictures.

    Args:
        terms: The terms as a dataset card states them.
        link: The address of the terms.
        redistributable: Whether others may be given the pictures. False if each user must ask the owner for them, or if
            the owner is not known here.
    """

    terms: str
    link: str | None = None
    redistributable: bool = False


LICENCES: Final[dict[str, Licence]] = {
    "sample": Licence("drawn by this package, nobody real is in them; Apache-2.0", redistributable=True),
    "eigenface": Licence("computed from the bona fide training faces of this dataset", redistributable=True),
    "vae": Licence("computed from the bona fide training faces of this dataset", redistributable=True),
    "df40": Licence(
        "DF40: CC BY-NC 4.0, given out on a form; made from FaceForensics++, Celeb-DF and others, whose terms hold too",
        "https://github.com/YZY-stack/DF40",
    ),
    "faceforensics": Licence(
        "FaceForensics++: given out to those who agree to its Terms of Use", "https://github.com/ondyari/FaceForensics"
    ),
    "celebdf": Licence(
        "Celeb-DF: given out to those who agree to its Terms to Use",
        "https://github.com/yuezunli/celeb-deepfakeforensics",
    ),
}
"""The `source` of a row → its licence. Faces that were computed from other faces have the terms of those as well."""

OWN: Final = Licence("provided by the person who built this dataset, who is responsible for the right to use them")
"""The licence of all other sources, such as a folder of the user's own pictures."""


def licence_of(source: str) -> Licence:
    """Return the licence of a row's `source`."""
    return LICENCES.get(source, OWN)


def not_redistributable(sources: Iterable[str], permitted: Iterable[str] = ()) -> list[str]:
    """Return the sources whose pictures may not be redistributed, except those that the user has `permitted`."""
    return sorted(source for source in set(sources) - set(permitted) if not licence_of(source).redistributable)
