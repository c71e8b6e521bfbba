"""Tests of `modeling_dfa_gpt`; a package, so that its modules may be called as those of other tests."""
