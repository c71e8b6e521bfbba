"""Under which terms the pictures of each source stand, and whether these let them be passed on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Licence:
    """The terms of a source's pictures: what a card says of them, where they are read, whether they may be passed on.

    `redistributable` False: the owner gives the pictures to those who sign for them, or the owner is not known here.
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
"""A row's `source` → its terms. Computed faces go with those that they were computed from."""

OWN: Final = Licence("brought along by who built this dataset, who answers for the right to them")
"""Of any other source: a folder of one's own, a generator."""


def licence_of(source: str) -> Licence:
    """Return the terms of a row's `source`."""
    return LICENCES.get(source, OWN)


def not_redistributable(sources: Iterable[str], permitted: Iterable[str] = ()) -> list[str]:
    """Return the sources whose pictures may not be passed on, but for those that the user is `permitted` to."""
    return sorted(source for source in set(sources) - set(permitted) if not licence_of(source).redistributable)
