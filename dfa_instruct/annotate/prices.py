"""What requests cost: prices a million tokens, estimates before, and the budget that is kept to meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import yaml

from dfa_instruct.annotate.prompts import filled
from dfa_instruct.annotate.store import Request, Store
from dfa_instruct.vocabulary import Ability

CHARACTERS_A_TOKEN: Final = 4
PICTURE_TOKENS: Final = 255
"""Of a picture of up to 512 pixels a side, by the rule that OpenAI states for GPT-4o."""
ANSWER_TOKENS: Final[dict[Ability, int]] = {"ad": 200, "fc": 350}
"""Rules of thumb, until the store has answers of the same prompt and model."""


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars a million tokens, in and out; `as_of` is the day of the list."""

    input: float
    output: float
    as_of: str

    def of(self, tokens_in: float, tokens_out: float) -> float:
        """Return what so many tokens cost, in dollars."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


def price(model: str, path: Path | None = None, batch: bool = False) -> Price | None:
    """Look up a model's price, in a file of one's own or in the package's; None: it is not there.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line: the file is not of the form of `prices.yaml`.
    """
    if path is None:
        with as_file(files("dfa_instruct.annotate") / "prices.yaml") as packaged:
            return price(model, packaged, batch)
    if not path.is_file():
        raise FileNotFoundError(f"--prices: {path}: no such file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        share = float(content["batch"]) if batch else 1.0
        found = content["models"].get(model)
        as_of = str(content["as_of"])
        return found and Price(float(found["input"]) * share, float(found["output"]) * share, as_of)
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected as_of, batch, and models with input and output, in dollars a million tokens ({error!r})"
        ) from error


@dataclass
class Estimate:
    """The tokens that a request is likely to take; `answers` of the same kind in the store tell, else a rule."""

    store: Store
    model: str

    def __post_init__(self) -> None:
        self._usual: dict[str, tuple[int, float, float]] = {}

    def tokens(self, request: Request) -> tuple[float, float]:
        """Return the tokens in and out of one request."""
        if request.prompt not in self._usual:
            self._usual[request.prompt] = self.store.usual(request.prompt, self.model)
        answers, tokens_in, tokens_out = self._usual[request.prompt]
        if answers and tokens_in:
            return tokens_in, tokens_out
        pictures = 0 if request.ability == "fc" else 1 if request.pair_id is None else 2
        text = len(filled(request)) / CHARACTERS_A_TOKEN
        return text + pictures * PICTURE_TOKENS, ANSWER_TOKENS[request.ability]


@dataclass
class Purse:
    """What may be spent, what was, and what the requests under way are likely to cost, in dollars.

    `spent` begins with all that the store has cost, so that the same budget given again allows nothing more.
    """

    budget: float | None
    spent: float = 0.0
    reserved: float = 0.0

    def reserve(self, dollars: float) -> bool:
        """Set money aside for a request; False: there is not enough, and nothing is."""
        if self.budget is not None and self.spent + self.reserved + dollars > self.budget:
            return False
        self.reserved += dollars
        return True

    def pay(self, reserved: float, dollars: float) -> None:
        """Pay a request for which money was set aside."""
        self.reserved -= reserved
        self.spent += dollars
