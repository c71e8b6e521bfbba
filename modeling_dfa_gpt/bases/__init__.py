"""Create the LLaVA models that DFA-GPT adapts: the tiny base in this package, and combinations of pretrained models."""

from pathlib import Path

TINY_BASE = Path(__file__).parent / "dfa-gpt-tiny-base"
"""A LLaVA model with 3.5 million weights, pretrained on drawn faces (see its README.md)."""
