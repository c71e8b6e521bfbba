"""The annotators by name. Other packages add theirs through the entry-point group `dfa_instruct.annotators`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from dfa_instruct.annotate import Annotator
from dfa_instruct.annotate.from_store import Stored
from dfa_instruct.annotate.measured import Measured
from dfa_instruct.instruct.templates import Libraries
from dfa_instruct.plugins import call_with, load_plugin

ENTRY_POINTS: Final = "dfa_instruct.annotators"
ANNOTATORS: Final[dict[str, Callable[..., Annotator]]] = {"measured": Measured, "stored": Stored}


def annotator(wanted: str | Mapping[str, Any], library: Libraries) -> Annotator:
    """Create an annotator from a recipe's `annotator` key: a name, or a mapping with `name` and settings.

    Our own annotators take their sentences from `library`.

    Raises:
        ValueError: The name or a setting is unknown, or the plug-in cannot be loaded or does not return an annotator.
    """
    settings = {"name": wanted} if isinstance(wanted, str) else dict(wanted)
    name = settings.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"annotator: expected a name, or `name` with settings, not {wanted!r}")
    ours = partial(ANNOTATORS[name], library=library) if name in ANNOTATORS else None
    make = ours or load_plugin(ENTRY_POINTS, "annotator", name, ANNOTATORS)
    made = call_with(make, f"annotator {name}", settings)
    if not hasattr(made, "name") or not callable(getattr(made, "annotate", None)):
        raise ValueError(f"annotator {name}: the plug-in returned {made!r}, which has no name or no method annotate")
    return made
