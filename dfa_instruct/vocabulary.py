"""The words of deepfake analysis, each of them once.

Columns, flags, cards, questions and messages take their words from here. The abilities and the categories
follow *Towards Interactive Deepfake Analysis*, sections I and II.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

Label = Literal["bona_fide", "forged"]
Category = Literal["bona_fide", "face_swapping", "face_reenactment", "face_editing", "entire_face_synthesis"]
Ability = Literal["df_d", "df_c", "ad", "fc"]
BenchAbility = Literal["df_d", "df_c", "ad", "df_t"]
Split = Literal["train", "validation", "test"]
Region = Literal[
    "forehead", "hairline", "eyebrows", "eyes", "nose", "cheeks", "mouth", "chin", "jawline"
]  # fmt: skip
ArtifactKind = Literal["colour", "texture", "sharpness", "geometry", "boundary"]
Pairing = Literal["same_frame", "content", "refused"]


class BenchTask(StrEnum):
    """The tasks of DFA-Bench by the names that lighteval knows them by."""

    DF_D = "dfa_bench_dfd"
    DF_C = "dfa_bench_dfc"
    AD = "dfa_bench_ad"
    DF_T = "dfa_bench_dft"

    @property
    def abbreviation(self) -> str:
        """As it stands in tables and sentences."""
        return {"dfd": "DF-D", "dfc": "DF-C", "ad": "AD", "dft": "DF-T"}[self.short]

    @property
    def short(self) -> str:
        """As it stands in the names of figures."""
        return self.removeprefix("dfa_bench_")


ABILITIES: Final[dict[Ability, str]] = {
    "df_d": "deepfake detection",
    "df_c": "deepfake classification",
    "ad": "artifact description",
    "fc": "free conversation",
}

BENCH_ABILITIES: Final[dict[BenchAbility, str]] = {
    "df_d": ABILITIES["df_d"],
    "df_c": ABILITIES["df_c"],
    "ad": ABILITIES["ad"],
    "df_t": "attribution of the technique",
}
"""What DFA-Bench asks for. The fourth is not the paper's; it is asked of forged faces only."""

FC_QUESTIONS: Final = 4
"""Questions of free conversation about an image (paper, section III)."""

CATEGORIES: Final[dict[Category, str]] = {
    "bona_fide": "bona fide",
    "face_swapping": "face swapping",
    "face_reenactment": "face reenactment",
    "face_editing": "face editing",
    "entire_face_synthesis": "entire face synthesis",
}
"""Category → its name in a sentence. The five options of DF-C, in this order."""

FORGERY_CATEGORIES: Final[tuple[Category, ...]] = tuple(c for c in CATEGORIES if c != "bona_fide")

SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

PAIRINGS: Final[dict[Pairing, str]] = {
    "same_frame": "made from the very picture, or the frame of the video, that its pair is",
    "content": "made from a frame near its pair, which looks most like it outside of the face: no geometry is measured",
    "refused": "differs all over from the frame of its number, which is not its pair",
}
"""How a forgery and its bona fide were brought together → what is meant. A forgery that has neither a pair nor a frame
of its number has none of these."""

REGIONS: Final[dict[Region, str]] = {
    "forehead": "Forehead",
    "hairline": "Hairline",
    "eyebrows": "Eyebrows",
    "eyes": "Eyes",
    "nose": "Nose",
    "cheeks": "Cheeks",
    "mouth": "Mouth and Lips",
    "chin": "Chin",
    "jawline": "Jawline",
}
"""Region → its name as a heading in an artifact description (paper, Fig. 1)."""

ARTIFACTS: Final[dict[ArtifactKind, str]] = {
    "colour": "the colour differs from the rest of the face",
    "texture": "the fine texture is missing or repeated",
    "sharpness": "the detail is blurred or oversharpened",
    "geometry": "the shape or the position is distorted",
    "boundary": "an edge or a blend is visible",
}
