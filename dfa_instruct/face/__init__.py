"""Step 1 of the paper: finding a face, its 81 landmarks and its regions, and cutting it out as an aligned square."""
