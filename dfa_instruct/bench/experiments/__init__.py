"""Experiments beside the tasks: baselines, probes, conversations, robustness, comparisons."""
