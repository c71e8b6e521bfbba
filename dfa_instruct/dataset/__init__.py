"""DFA-Instruct as a dataset folder, and the `datasets` builder that gives views of it.

The folder `dfa-instruct/` contains `data/<split>-*.parquet` and `README.md`, and is what goes to the Hub. It loads with
`load_dataset("…/dfa-instruct")` and no code of this package. The names of its files contain a fingerprint of their
contents, and the card names these files. Without the fingerprint, `datasets` would confuse folders in its cache,
because it identifies a local folder only by its name and its card.

After `import dfa_instruct`, the same folder also loads with `load_dataset("dfa-instruct", <config>, data_dir="…")`.
The configs are:

- `default`: one row for each face, with the columns of the Parquet files;
- `conversations`: one row for each face, with `images` and `messages`. Messages of the same `branch` follow each other
  and do not see the other branches, see `modeling_dfa_gpt.shared_prefix`. For half of the faces, each of the seven
  questions is a branch of its own. For the others, all questions are turns of one branch, so that a model learns to
  continue a conversation;
- `conversations_d`, `conversations_d_c`, `conversations_d_c_ad`: the same with the questions of DF-D; DF-D and DF-C;
  DF-D, DF-C and AD only (the ablations of the paper's Table II);
- `qa`: one row for each question, also with `images` and `messages`, so that TRL can train on it;
- `df_d`, `df_c`, `ad`, `fc`: the rows of `qa` of one ability.

Without `data_dir`, the folder is the one that `DFA_INSTRUCT_DIR` names, else the embedded sample. The sample is built
once, into the cache of `datasets`.
"""

from typing import Final

DATASET_NAME: Final = "dfa-instruct"
DIRECTORY_ENV: Final = "DFA_INSTRUCT_DIR"
