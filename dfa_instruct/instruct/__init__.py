"""Step 3 of the paper: questions and answers about each face, made from templates and annotations."""
