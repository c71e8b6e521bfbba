"""Step 1: which facial regions of a forgery differ, how, and how much; measured on the pixels."""
