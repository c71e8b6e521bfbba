"""Inspect a dataset folder: count its rows and draw them, show examples, and check everything that it promises."""
