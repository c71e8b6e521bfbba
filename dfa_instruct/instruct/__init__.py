"""Step 3: questions and answers about each face, made from templates and annotations."""
