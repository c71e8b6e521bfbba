"""DFA-Instruct and DFA-Bench: the data of interactive deepfake analysis."""
