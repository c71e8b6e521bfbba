"""The manual review of descriptions in the browser. The paper reviews those of the test set (section III)."""
