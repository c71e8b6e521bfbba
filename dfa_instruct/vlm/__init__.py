"""Vision-language models: opening them, what they take, their parts, and their answers."""
