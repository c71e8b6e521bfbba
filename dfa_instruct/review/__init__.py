"""The manual check of descriptions (paper, section III: of the test set), on a page in the browser."""
