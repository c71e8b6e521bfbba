"""Tests of `modeling_dfa_gpt.base`."""
