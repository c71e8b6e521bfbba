"""DFA-Instruct as a dataset folder, and the builder that gives its views.

The folder `dfa-instruct/` holds `data/<split>-*.parquet` and `README.md` and is what goes to the Hub. It loads with
`load_dataset("…/dfa-instruct")` and no code of ours. Its files carry a fingerprint of what is in them in their names,
and the card names them by it: `datasets` knows a local folder by its name and its card alone, and would give the rows
of another folder, or of an earlier build, from its cache. After `import dfa_instruct`, the same folder also loads as
`load_dataset("dfa-instruct", <config>, data_dir="…/dfa-instruct")`, with these configs:

- `default`: one row a face, as it stands in the Parquet files;
- `conversations`: one row a face, `images` and `messages`: its seven questions as the turns of one conversation. In a
  shared prefix (`modeling_dfa_gpt.shared_prefix`), messages of one `branch` follow each other and do not see the other
  branches: of half of the faces every question is a branch, of the others all turns are one, to learn to talk on;
- `conversations_d`, `conversations_d_c`, `conversations_d_c_ad`: the same with the questions of DF-D; DF-D and DF-C;
  DF-D, DF-C and AD only (the ablations of the paper's Table II);
- `qa`: one row a question, likewise with `images` and `messages`, so that TRL takes it;
- `df_d`, `df_c`, `ad`, `fc`: the rows of `qa` that belong to one ability.

Without `data_dir` the folder is the one that `DFA_INSTRUCT_DIR` names, else the embedded sample, built once into the
cache of `datasets`.
"""

from typing import Final

DATASET_NAME: Final = "dfa-instruct"
DIRECTORY_ENV: Final = "DFA_INSTRUCT_DIR"
