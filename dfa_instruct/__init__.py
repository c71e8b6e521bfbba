"""DFA-Instruct and DFA-Bench: the data of interactive deepfake analysis.

Importing this package registers the builder behind `datasets.load_dataset("dfa-instruct")`.
"""

from dfa_instruct.dataset import register

register()
