"""DFA-Bench: how well a vision-language model detects, classifies and describes forged faces (paper, III.B)."""
