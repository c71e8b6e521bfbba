"""The base that DFA-GPT adapts: the tiny one that this package carries, and one that is joined from others."""

from pathlib import Path

TINY_BASE = Path(__file__).parent / "dfa-gpt-tiny-base"
"""A LLaVA of three and a half million weights, pretrained on drawn faces: see its README.md."""
