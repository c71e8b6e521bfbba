"""What a user can mend."""

from __future__ import annotations


class RecipeError(ValueError):
    """A recipe that cannot be run, or would train something else than it says; the message names the key."""
