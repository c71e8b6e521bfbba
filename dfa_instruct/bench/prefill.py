"""One look at a picture for all questions about it: the keys and values of the picture, and of what stands before it.

A question's tokens follow those of the picture, so that all questions about it begin alike up to its end. That part is
read once, pictures in a batch; each question gets a copy of its picture's keys and values and reads its own tokens
only. The answers are those of questions that are read from the beginning (`tests/bench/test_prefill.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MODELS: Final = frozenset({"llava"})
"""Model types whose positions count tokens one by one and which attend to what stands before only; others (such as
those with two-dimensional positions, or with attention both ways within the picture) read each question by itself."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Prefill:
    """What was read of a batch of pictures: token ids, shape (pictures, length), and the cache of keys and values."""

    ids: Any
    cache: Any
    config: Any
    """The language model's."""

    def inputs(self, processor: Any, rows: list[int], asked: list[list[Message]], tokens: int) -> dict[str, Any]:
        """Return what `generate` takes to answer questions about the pictures of these rows in so many tokens.

        Questions are padded on their left, between the picture and them; a padded token has no position.
        """
        import torch
        from transformers import StaticCache

        device, length = self.ids.device, self.ids.shape[1]
        tails = [tail(processor, messages) for messages in asked]
        longest = max(map(len, tails))
        ids = torch.full((len(rows), length + longest), processor.tokenizer.pad_token_id, device=device)
        seen = torch.zeros_like(ids)
        ids[:, :length], seen[:, :length] = self.ids[rows], 1
        for row, question in enumerate(tails):
            ids[row, -len(question) :], seen[row, -len(question) :] = torch.tensor(question, device=device), 1
        # One that grows is copied whole for every token of the answer.
        cache = StaticCache(self.config, max_cache_len=length + longest + tokens)
        for number, layer in enumerate(self.cache.layers):
            cache.update(layer.keys[rows], layer.values[rows], number)
        return {"input_ids": ids, "attention_mask": seen, "past_key_values": cache, "disable_compile": True}


def tail(processor: Any, messages: list[Message]) -> list[int]:
    """Return the token ids behind the picture."""
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(ids[ids.index(processor.image_token_id) + 1 :])


def prefill(model: Any, processor: Any, asked: list[Message], images: list[Any]) -> Prefill | None:
    """Read pictures and what stands before the questions about them.

    Args:
        model: a model of Transformers.
        processor: its processor.
        asked: any question about the first picture, with the picture.
        images: the pictures.

    Returns:
        None: the model is none that this can be done with.
    """
    import torch
    from transformers import DynamicCache

    if model.config.model_type not in MODELS:
        return None
    inputs = processor.apply_chat_template(
        asked, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    whole, question = inputs["input_ids"], tail(processor, asked)
    before = whole[:, : whole.shape[1] - len(question)]
    if processor.image_token_id not in before or whole[0, before.shape[1] :].tolist() != question:
        return None  # the tokenizer joins the picture's end and the question
    ids = before.to(model.device).expand(len(images), -1).contiguous()
    pixel_values = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    config = model.config.get_text_config()
    cache = DynamicCache(config=config)
    with torch.inference_mode():
        model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pixel_values=pixel_values.to(model.device, model.dtype),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return Prefill(ids, cache, config)
