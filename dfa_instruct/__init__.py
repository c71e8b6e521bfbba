"""DFA-Instruct and DFA-Bench: the data of interactive deepfake analysis.

Importing this package registers the builder behind `datasets.load_dataset("dfa-instruct")`.
"""

from dfa_instruct.build.sample import sample_directory
from dfa_instruct.dataset.builder import register

register(default_folder=sample_directory)
