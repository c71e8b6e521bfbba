"""The vocabulary of deepfake analysis for columns, options, cards, questions and messages.

The abilities and the categories follow *Towards Interactive Deepfake Analysis*, sections I and II.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

Label = Literal["bona_fide", "forged"]
OPPOSITE: Final[dict[Label, Label]] = {"forged": "bona_fide", "bona_fide": "forged"}
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
    """The tasks of DFA-Bench, by their names in lighteval."""

    DF_D = "dfa_bench_dfd"
    DF_C = "dfa_bench_dfc"
    AD = "dfa_bench_ad"
    DF_T = "dfa_bench_dft"

    @property
    def abbreviation(self) -> str:
        """The abbreviation for tables and sentences."""
        return {"dfd": "DF-D", "dfc": "DF-C", "ad": "AD", "dft": "DF-T"}[self.short]

    @property
    def short(self) -> str:
        """The short name in the names of results."""
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
"""The abilities that DFA-Bench measures. The fourth is not in the paper and only concerns forged faces."""

FC_QUESTIONS: Final = 4
"""The number of free-conversation questions per image (paper, section III)."""

CATEGORIES: Final[dict[Category, str]] = {
    "bona_fide": "bona fide",
    "face_swapping": "face swapping",
    "face_reenactment": "face reenactment",
    "face_editing": "face editing",
    "entire_face_synthesis": "entire face synthesis",
}
"""Category → its name in a sentence. These are the five options of DF-C, in this order."""

FORGERY_CATEGORIES: Final[tuple[Category, ...]] = tuple(c for c in CATEGORIES if c != "bona_fide")

SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

PAIRINGS: Final[dict[Pairing, str]] = {
    "same_frame": "made from exactly this picture, or this frame of the video",
    "content": "made from a frame near this one, which is the most similar outside the face: no geometry is measured",
    "refused": "differs outside the face from the frame with the same number, which is therefore not its pair",
}
"""How a forgery was paired with its bona fide face → what that means. Forgeries without a pair and without a frame of
the same number have none of these."""

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
