"""A conversation about one face: each turn continues where the last one ended."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import takewhile
from threading import Event
from typing import Any, Protocol

from PIL import Image

from dfa_instruct.vlm.inputs import EncodedImages, encode_images, on, prompt_tokens
from dfa_instruct.vlm.messages import Message, render

MAX_NEW_TOKENS = 256


class ContextError(ValueError):
    """A conversation is longer than its model reads."""


class LoadedModel(Protocol):
    """A Transformers model and its processor, as `DfaGpt` holds them."""

    model: Any
    processor: Any


@dataclass
class Conversation:
    """A conversation about one face; every turn is kept and stands before the next question.

    The picture is encoded once, and the keys and values of what was read stay: a turn reads its question only. They are
    used as far as the turn's tokens equal those that were read, so that answers are those of a model that reads
    everything anew (`keep=False`).
    """

    model: LoadedModel
    image: Image.Image
    keep: bool = True
    notice: str = ""
    """Why the answers mean little; empty where nothing speaks against them."""
    messages: list[Message] = field(default_factory=list)
    _read: list[int] = field(default_factory=list, repr=False)
    _cache: Any = field(default=None, repr=False)
    _encoded: EncodedImages | None = field(default=None, repr=False)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False)
    """One for all turns: torch starts its own threads anew for each thread that calls it."""

    def ask(self, question: str, begin: str = "") -> str:
        """Answer one question; see `stream`."""
        return "".join(self.stream(question, begin)).strip()

    def stream(self, question: str, begin: str = "") -> Generator[str, None, None]:
        """Answer one question piece by piece, as it is generated; the turn is kept once the answer is whole.

        Closed before its end, it stops generating, and nothing of the turn is kept.

        Args:
            question: what is asked.
            begin: words that the answer shall begin with.

        Raises:
            ContextError: the conversation is longer than the model reads.
        """
        token = self.model.processor.image_token
        while token in question:  # it would stand for a second picture
            question = question.replace(token, "")
        asked = [*self.messages, {"role": "user", "content": question}]
        answer = begin
        if begin:
            yield begin
        for piece in self._generate([*asked, {"role": "assistant", "content": begin}] if begin else asked):
            answer += piece
            yield piece
        self.messages = [*asked, {"role": "assistant", "content": answer.strip()}]

    def forget(self, turns: int = 0) -> None:
        """Let go of the keys and values that are kept, and of the last turns; what is asked next is read anew."""
        self._read, self._cache = [], None
        del self.messages[len(self.messages) - 2 * turns :]

    def _generate(self, messages: list[Message]) -> Iterator[str]:
        """Continue a conversation by one answer, or by the rest of one, greedily, piece by piece."""
        import torch
        from transformers import DynamicCache, StoppingCriteriaList, TextIteratorStreamer

        model, processor = self.model.model, self.model.processor
        if self._encoded is None:
            self._encoded = encode_images(processor, [self.image])
        prompt = prompt_tokens(processor, render(processor, messages), self._encoded.tokens[0])
        longest = model.config.get_text_config().max_position_embeddings
        if len(prompt) >= longest:
            raise ContextError(f"the conversation has {len(prompt)} tokens; the model reads {longest} at most")
        read, cache = self._read, self._cache
        self._read, self._cache = [], None  # an answer that breaks off leaves nothing half read
        alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt[:-1], read, strict=False)))
        if not self.keep or processor.image_token_id in prompt[alike:]:
            alike, cache = 0, DynamicCache(config=model.config.get_text_config())
        elif alike < len(read):
            cache.crop(alike - len(read))
        ids = torch.tensor([prompt], device=model.device)
        streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        closed = Event()
        arguments = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "past_key_values": cache,
            **({} if alike else on(model, self._encoded.features)),
            "streamer": streamer,
            "max_new_tokens": min(MAX_NEW_TOKENS, longest - len(prompt)),
            "do_sample": False,
            "stopping_criteria": StoppingCriteriaList([lambda *_: closed.is_set()]),
        }
        generating = self._thread.submit(model.generate, **arguments)
        generating.add_done_callback(lambda _: streamer.end())  # an error must not leave us waiting
        try:
            yield from streamer
        finally:
            closed.set()
            wait([generating])
        said = generating.result()[0].tolist()
        self._read, self._cache = said[: cache.get_seq_length()], cache
