"""Step 1: measure which facial regions of a forgery differ, how they differ, and by how much."""
