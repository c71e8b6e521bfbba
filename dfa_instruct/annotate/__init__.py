"""Writing what is said of a face before any question is asked: the DF-D, DF-C and AD annotations (paper, step 2).

A recipe names the annotator: `measured`; `stored`, what language models have written; or one of a plug-in (entry-point
group `dfa_instruct.annotators`), which is a class or a function that takes the recipe's settings and returns an
`Annotator`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from dfa_instruct.annotate.measured import Measured
from dfa_instruct.annotate.stored import Stored
from dfa_instruct.plugins import called, plug_in
from dfa_instruct.records import Annotation, Artifact, FaceRecord

ENTRY_POINTS: Final = "dfa_instruct.annotators"


class Annotator(Protocol):
    """Who describes faces."""

    @property
    def name(self) -> str:
        """As messages have it."""
        ...

    def annotate(self, face: FaceRecord, artifacts: list[Artifact]) -> Annotation:
        """Describe one face; the same face and artifacts get the same words.

        Args:
            face: its label and category are known, and what is said must agree with them.
            artifacts: what was measured, the strongest region first; empty for a bona fide face.
        """
        ...


ANNOTATORS: Final[dict[str, Callable[..., Annotator]]] = {"measured": Measured, "stored": Stored}
"""Name → what makes ours from its settings."""


def annotator(wanted: str | Mapping[str, Any]) -> Annotator:
    """Make the annotator that a recipe wants: a name, or a mapping of `name` and settings.

    Raises:
        ValueError: one line: nobody knows the name (the nearest is said), a setting is wrong, or its plug-in does not
            load or makes something else.
    """
    settings = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"annotator: expected a name, or `name` with settings, not {wanted!r}")
    make = ANNOTATORS.get(name) or plug_in(ENTRY_POINTS, "annotator", name, ANNOTATORS)
    made = called(make, f"annotator {name}", settings)
    if not hasattr(made, "name") or not callable(getattr(made, "annotate", None)):
        raise ValueError(f"annotator {name}: its plug-in makes {made!r}, which has no name or no method annotate")
    return made
