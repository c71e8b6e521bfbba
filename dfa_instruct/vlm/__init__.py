"""Vision-language models: loading them, their inputs, their parts, and their answers."""
