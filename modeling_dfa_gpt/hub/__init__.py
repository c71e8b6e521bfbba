"""Publish on the Hugging Face Hub: model cards, adapters and merged models, and the web page as a Space."""
