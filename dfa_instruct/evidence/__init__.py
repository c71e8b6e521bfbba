"""Step 1 of the paper: measure which facial regions of a forgery differ, how they differ, and by how much."""
