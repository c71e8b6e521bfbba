"""The tasks of DFA-Bench: what is asked, and how answers are read."""
