"""A package of somebody else, which adds to this one by entry points alone: one file each."""
