"""The tasks of DFA-Bench: what is asked, and how a model's answer is read."""
