"""Tests of `modeling_dfa_gpt.bases`."""
