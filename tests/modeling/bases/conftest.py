"""Fixtures of the tests of bases."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset, load_dataset
from transformers import LlamaConfig, LlamaForCausalLM

from modeling_dfa_gpt.bases.processor import train_tokenizer


@pytest.fixture(scope="session")
def train(dataset_folder: Path) -> Dataset:
    """The train split of the tiny dataset."""
    return load_dataset("dfa-instruct", data_dir=str(dataset_folder), split="train")


@pytest.fixture(scope="session")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A language model with other special tokens, tied embeddings and no image token."""
    folder = tmp_path_factory.mktemp("language")
    tokenizer = train_tokenizer(["Has this face been forged? bona fide face editing lips skin eyes face swapping"], 300)
    tokenizer.add_special_tokens({"bos_token": "<|start|>", "eos_token": "<|end|>", "pad_token": "<|end|>"})
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **size)).save_pretrained(folder)
    return folder
