"""The annotators by the names that a recipe gives them; another package adds its own by an entry point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from dfa_instruct.annotate import Annotator
from dfa_instruct.annotate.from_store import Stored
from dfa_instruct.annotate.measured import Measured
from dfa_instruct.plugins import call_with, load_plugin

ENTRY_POINTS: Final = "dfa_instruct.annotators"
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
    make = ANNOTATORS.get(name) or load_plugin(ENTRY_POINTS, "annotator", name, ANNOTATORS)
    made = call_with(make, f"annotator {name}", settings)
    if not hasattr(made, "name") or not callable(getattr(made, "annotate", None)):
        raise ValueError(f"annotator {name}: its plug-in makes {made!r}, which has no name or no method annotate")
    return made
