"""Portraits that are drawn with their landmarks and show no real person."""
