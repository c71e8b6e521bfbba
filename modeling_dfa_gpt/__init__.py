"""DFA-GPT: a LLaVA that answers questions about forged faces. Training, using and publishing it."""

import dfa_instruct  # noqa: F401 (registers "dfa-instruct" with datasets, and sets how threads wait, before torch)
