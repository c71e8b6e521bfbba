"""Create the LLaVA models that DFA-GPT adapts: the bases in this package, and combinations of pretrained models."""

from pathlib import Path

TINY_BASE = Path(__file__).parent / "dfa-gpt-tiny-base"
"""A LLaVA model with 3.5 million weights, pretrained on drawn faces (see its README.md)."""
PHOTO_BASE = Path(__file__).parent / "dfa-gpt-photo-base"
"""A LLaVA model of the same size for photographs, pretrained on openly licensed portraits (see its README.md)."""
