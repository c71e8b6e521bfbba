"""Step 1: finding a face, its 81 landmarks and its regions, and cutting it out as an aligned square."""
