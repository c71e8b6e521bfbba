"""The cost of requests: prices of models, estimates before a request, and the budget of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import yaml

from dfa_instruct.annotate.prompts import filled
from dfa_instruct.annotate.store import Request, Store
from dfa_instruct.vocabulary import Ability

CHARACTERS_PER_TOKEN: Final = 4
TOKENS_PER_PICTURE: Final = 255
"""For pictures of up to 512 × 512 pixels, by OpenAI's rule for GPT-4o."""
ANSWER_TOKENS: Final[dict[Ability, int]] = {"ad": 200, "fc": 350}
"""Estimates that are used until the store has answers to the same prompt by the same model."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model in dollars per million input and output tokens; `as_of` is the date of the price list."""

    input: float
    output: float
    as_of: str

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Return the cost of tokens, in dollars."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


def find_price(model: str, path: Path | None = None, batch: bool = False) -> Price | None:
    """Look up the price of a model.

    Args:
        model: The name of the model.
        path: A file in the format of `prices.yaml`; None: the `prices.yaml` of the package.
        batch: Whether to return the price in a batch.

    Returns:
        The price, or None if the file does not list the model.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file has the wrong format.
    """
    source = path or files("dfa_instruct.annotate") / "prices.yaml"
    if not source.is_file():
        raise FileNotFoundError(f"--prices: {path}: no such file")
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
        discount = float(content["batch"]) if batch else 1.0
        prices = content["models"].get(model)
        as_of = str(content["as_of"])
        return prices and Price(float(prices["input"]) * discount, float(prices["output"]) * discount, as_of)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{source}: expected as_of, batch, and models with input and output (dollars per million tokens): {error!r}"
        ) from error


class Estimate:
    """Estimates the tokens of a request, from the answers to the same prompt in the store if there are any."""

    def __init__(self, store: Store, model: str) -> None:
        self.model = model
        self._mean_tokens = cache(store.mean_tokens)

    def tokens(self, request: Request) -> tuple[float, float]:
        """Return the expected input and output tokens of a request."""
        tokens_in, tokens_out = self._mean_tokens(request.prompt, self.model)
        if tokens_in:
            return tokens_in, tokens_out
        pictures = 0 if request.ability == "fc" else 1 if request.pair_id is None else 2
        text_tokens = len(filled(request)) / CHARACTERS_PER_TOKEN
        return text_tokens + pictures * TOKENS_PER_PICTURE, ANSWER_TOKENS[request.ability]


@dataclass
class Budget:
    """The spending limit of a run. All amounts are in dollars.

    Args:
        limit: The limit; None: no limit.
        spent: The cost of all answers in the store, earlier runs included.
        reserved: The expected cost of the requests in progress.
    """

    limit: float | None
    spent: float = 0.0
    reserved: float = 0.0

    def reserve(self, dollars: float) -> bool:
        """Reserve the expected cost of a request. Return False, and reserve nothing, if it exceeds the limit."""
        if self.limit is not None and self.spent + self.reserved + dollars > self.limit:
            return False
        self.reserved += dollars
        return True

    def pay(self, reserved: float, dollars: float) -> None:
        """Replace the reserved cost of a request by its actual cost."""
        self.reserved -= reserved
        self.spent += dollars
