"""The model cards; installed as `modeling_dfa_gpt.model_card`."""
