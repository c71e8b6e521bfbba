"""DFA-GPT: a LLaVA that answers questions about forged faces. Training, using and publishing it."""
