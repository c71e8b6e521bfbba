"""The errors that a user can fix."""

from __future__ import annotations


class RecipeError(ValueError):
    """A recipe cannot be run, or would train something other than it states. The message names the key."""
