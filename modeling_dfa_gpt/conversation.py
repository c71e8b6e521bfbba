"""Hold a conversation about one face, in which each turn reuses the key-value cache of the turns before."""

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
    """A conversation is longer than the context of its model."""


class LoadedModel(Protocol):
    """A Transformers model and its processor, for example a `DfaGpt`."""

    model: Any
    processor: Any


@dataclass
class Conversation:
    """A conversation about one face.

    The image is encoded once. The key-value cache is kept between turns and reused for the tokens that the next prompt
    has in common with it, so that answers equal those computed without a cache.

    Attributes:
        model: The model and its processor.
        image: The face.
        use_cache: Keep the key-value cache between turns.
        notice: The reason why the answers are unreliable, or an empty string.
        messages: The turns so far.
    """

    model: LoadedModel
    image: Image.Image
    use_cache: bool = True
    notice: str = ""
    messages: list[Message] = field(default_factory=list)
    _cached_tokens: list[int] = field(default_factory=list, repr=False)
    _cache: Any = field(default=None, repr=False)
    _encoded: EncodedImages | None = field(default=None, repr=False)
    # One thread for all turns: torch starts new threads of its own for each thread that calls it.
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False)

    def ask(self, question: str, begin: str = "") -> str:
        """Return the answer to a question; see `stream`."""
        return "".join(self.stream(question, begin)).strip()

    def stream(self, question: str, begin: str = "") -> Generator[str, None, None]:
        """Yield the answer to a question in pieces, as it is generated.

        The turn is added to `messages` when the answer is complete. If the generator is closed early, generation stops
        and the turn is discarded.

        Args:
            question: The question.
            begin: The words with which the answer must begin.

        Raises:
            ContextError: The conversation is longer than the context of the model.
        """
        token = self.model.processor.image_token
        while token in question:  # it would stand for a second image
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
        """Discard the key-value cache and the last `turns` questions with their answers (by default, none)."""
        self._cached_tokens, self._cache = [], None
        del self.messages[len(self.messages) - 2 * turns :]

    def _generate(self, messages: list[Message]) -> Iterator[str]:
        """Generate the next answer, or the rest of one, greedily and in pieces."""
        import torch
        from transformers import DynamicCache, StoppingCriteriaList, TextIteratorStreamer

        model, processor = self.model.model, self.model.processor
        if self._encoded is None:
            self._encoded = encode_images(processor, [self.image])
        prompt = prompt_tokens(processor, render(processor, messages), self._encoded.tokens[0])
        longest = model.config.get_text_config().max_position_embeddings
        if len(prompt) >= longest:
            raise ContextError(f"the conversation has {len(prompt)} tokens, but the model reads at most {longest}")
        cached_tokens, cache = self._cached_tokens, self._cache
        self._cached_tokens, self._cache = [], None  # restored below only if the answer is completed
        pairs = zip(prompt[:-1], cached_tokens, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if not self.use_cache or processor.image_token_id in prompt[common:]:
            common, cache = 0, DynamicCache(config=model.config.get_text_config())
        elif common < len(cached_tokens):
            cache.crop(common - len(cached_tokens))
        ids = torch.tensor([prompt], device=model.device)
        streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        closed = Event()
        generating = self._thread.submit(
            model.generate,
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            past_key_values=cache,
            streamer=streamer,
            max_new_tokens=min(MAX_NEW_TOKENS, longest - len(prompt)),
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([lambda *_: closed.is_set()]),
            **({} if common else on(model, self._encoded.features)),
        )
        generating.add_done_callback(lambda _: streamer.end())  # after an error, nothing else ends the stream
        try:
            yield from streamer
        finally:
            closed.set()
            wait([generating])
        tokens = generating.result()[0].tolist()
        self._cached_tokens, self._cache = tokens[: cache.get_seq_length()], cache
