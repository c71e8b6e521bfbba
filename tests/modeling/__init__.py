"""Tests of `modeling_dfa_gpt`. A package, because other tests have modules with the same names."""
