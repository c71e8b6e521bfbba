"""Hold a conversation about one face, in which each turn reuses the key-value cache of the turns before."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import takewhile
from threading import Event
from typing import Any, Protocol

from PIL import Image

from dfa_instruct.vlm.inputs import EncodedImages, encode_images, encode_prompts, on, prompt_tokens
from dfa_instruct.vlm.messages import Message, render
from dfa_instruct.vlm.parts import family_of

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

    If the model's family allows it (`Family.prefix_cache`), the image is encoded once, and the key-value cache is kept
    between turns and reused for the tokens that the next prompt has in common with it, so that answers equal those
    computed without a cache. In other families, each turn reads the conversation from its beginning.

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
        processor = self.model.processor
        tokens = {processor.image_token, *processor.tokenizer.convert_ids_to_tokens(processor.image_token_ids)}
        tokens |= {processor.video_token} if hasattr(processor, "video_token") else set()
        while found := [token for token in tokens if token in question]:  # it would stand for a second image
            question = question.replace(found[0], "")
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
        from transformers import StoppingCriteriaList, TextIteratorStreamer

        model, processor = self.model.model, self.model.processor
        if family_of(model.config).prefix_cache:
            inputs = self._after_cached(messages)
        else:
            inputs = on(model, encode_prompts(processor, [messages], [self.image]))
        room = self._room(inputs["input_ids"].shape[1])
        streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, skip_special_tokens=True)
        closed = Event()
        generating = self._thread.submit(
            model.generate,
            **inputs,
            streamer=streamer,
            max_new_tokens=min(MAX_NEW_TOKENS, room),
            do_sample=False,
            stopping_criteria=StoppingCriteriaList([lambda *_: closed.is_set()]),
        )
        generating.add_done_callback(lambda _: streamer.end())  # after an error, nothing else ends the stream
        try:
            yield from streamer
        finally:
            closed.set()
            wait([generating])
        tokens = generating.result()[0].tolist()
        if (cache := inputs.get("past_key_values")) is not None:
            self._cached_tokens, self._cache = tokens[: cache.get_seq_length()], cache

    def _room(self, tokens: int) -> int:
        """Return the number of tokens that fit into the model's context after a prompt of `tokens` tokens."""
        longest = self.model.model.config.get_text_config().max_position_embeddings
        if tokens >= longest:
            raise ContextError(f"the conversation has {tokens} tokens, but the model reads at most {longest}")
        return int(longest - tokens)

    def _after_cached(self, messages: list[Message]) -> dict[str, Any]:
        """Return the inputs of `generate`: the prompt, and the cache of the tokens that it shares with the last prompt.

        The cache of keys and values is removed from the conversation, and put back when the answer is complete.
        """
        import torch
        from transformers import DynamicCache

        model, processor = self.model.model, self.model.processor
        if self._encoded is None:
            self._encoded = encode_images(processor, [self.image])
        prompt = prompt_tokens(processor, render(processor, messages), self._encoded.tokens[0])
        self._room(len(prompt))  # an error keeps the cache
        cached_tokens, cache = self._cached_tokens, self._cache
        self._cached_tokens, self._cache = [], None
        pairs = zip(prompt[:-1], cached_tokens, strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if not self.use_cache or processor.image_token_id in prompt[common:]:
            common, cache = 0, DynamicCache(config=model.config.get_text_config())
        elif common < len(cached_tokens):
            cache.crop(common - len(cached_tokens))
        ids = torch.tensor([prompt], device=model.device)
        features = {} if common else on(model, self._encoded.features)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "past_key_values": cache, **features}
