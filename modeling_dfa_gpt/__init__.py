"""DFA-GPT: train, use and publish a LLaVA model that answers questions about forged faces."""

import dfa_instruct  # noqa: F401 (registers "dfa-instruct" with datasets, and configures threads before torch starts)
