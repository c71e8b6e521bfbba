"""Drawn portraits: faces with their landmarks, of no real person."""
