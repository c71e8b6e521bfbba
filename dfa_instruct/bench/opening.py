"""From what a person names to a model that DFA-Bench asks."""

from __future__ import annotations

from pathlib import Path

from dfa_instruct.bench.answers import Answers, answers_path
from dfa_instruct.bench.endpoint import PREFIX, Endpoint
from dfa_instruct.bench.model import BenchModel
from dfa_instruct.bench.vlm import VisionLanguageModel


def open_model(
    name: str,
    data: Path | None,
    base_url: str | None = None,
    concurrency: int = 16,
    answer_tokens: int | None = None,
) -> BenchModel:
    """Open a model whose answers about a dataset folder are kept beside that folder.

    Args:
        name: a folder (an adapter's or a whole model's), a Hub id, or `openai:` and a model's name at a server.
        data: the dataset folder, see `run_bench`.
        base_url: the server; see `Endpoint`.
        concurrency: questions that a server is asked at a time.
        answer_tokens: an answer has at most so many, see `BenchModel`.

    Raises:
        FileNotFoundError: the model is not there.
        ValueError: a server is named without a model of it, or the other way round, or there is no key.
    """
    kind, _, model = name.partition(PREFIX)
    if kind and base_url is not None:
        raise ValueError(f"--base-url names a server: expected {PREFIX}NAME, a model of it, in place of {name}")
    if not kind and not model:
        raise ValueError(f"{name}: expected {PREFIX}NAME, a model by the name that its server knows")
    opened = VisionLanguageModel(name) if kind else Endpoint(model, base_url, concurrency)
    opened.answer_tokens = answer_tokens
    opened.answers = Answers(answers_path(data))
    return opened
