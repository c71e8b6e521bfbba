"""Experiments that complement the tasks: baselines, probes, conversations, robustness, comparisons."""
