"""Training and benchmark recipes; installed as `modeling_dfa_gpt.recipes`."""
