"""A vision-language model that answers lighteval's documents: what `AutoModelForImageTextToText` loads.

lighteval's own vision backend does not serve here: it cannot load an adapter folder, keeps answers under the model's
name whatever its weights, and switches gradients off for the whole process.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import PIL.Image
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc
from tqdm import tqdm


def _refuse_absent(name: str) -> None:
    """Raise FileNotFoundError for what is not a folder, nor in the cache or on the Hub.

    Transformers would find out, too, but on a machine without internet only after minutes of trying again.
    """
    import httpx
    from huggingface_hub import model_info, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(name).is_dir():
        return
    try:
        cached = [try_to_load_from_cache(name, file) for file in ("config.json", "adapter_config.json")]
        if not any(isinstance(path, str) for path in cached):
            model_info(name, timeout=10)
    except (HFValidationError, httpx.HTTPError, OSError):
        raise FileNotFoundError(f"{name}: no such model folder, and no such model on the Hub") from None


def _asked(question: str, images: Sequence[Any] = ()) -> dict[str, Any]:
    pictures = [{"type": "image", "image": image} for image in images]
    return {"role": "user", "content": [*pictures, {"type": "text", "text": question}]}


def _decoded(image: Any) -> Any:
    return PIL.Image.open(io.BytesIO(image["bytes"])) if isinstance(image, dict) else image


class VisionLanguageModel:
    """Greedy answers to questions about images, in batches of questions of like length.

    It computes on a GPU where there is one, in bfloat16, else on the CPU in float32.

    Args:
        model: a folder (an adapter's or a whole model's) or a Hub id.
        batch_size: questions at a time; by default 32 on a CPU, 16 on a GPU.

    Raises:
        FileNotFoundError: no such model is there.
    """

    def __init__(self, model: str | Path, *, batch_size: int | None = None) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        name = str(model)
        _refuse_absent(name)
        gpu = torch.cuda.is_available()
        try:
            self.processor = AutoProcessor.from_pretrained(name, padding_side="left")
            dtype = torch.bfloat16 if gpu else torch.float32
            read: Any = AutoModelForImageTextToText.from_pretrained(
                name, dtype=dtype, use_safetensors=True, output_loading_info=True
            )
            loaded, found = read
            if found["missing_keys"]:
                raise ValueError(f"its weights lack {len(found['missing_keys'])} of the model's")
        except Exception as error:  # the files come from strangers, and raise whatever they lead Transformers to
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise FileNotFoundError(f"{name}: no vision-language model that Transformers can load: {reason}") from error
        self.model = loaded.to("cuda" if gpu else "cpu").eval()
        self.batch_size = batch_size or (16 if gpu else 32)

    def greedy_until(self, docs: list[Doc]) -> list[ModelResponse]:
        """Answer every document; one question about one image object is put once.

        A response's `logprobs` are, for each of its document's choices, how likely the answer's first token is that
        word; there are none where a choice is more than a token, as a category is.

        An image is let go when it is answered, for a test split's decoded images would fill the memory.
        """
        alike: dict[tuple[Any, ...], list[int]] = {}
        for i, doc in enumerate(docs):
            alike.setdefault((doc.generation_size, doc.query, *map(id, doc.images or [])), []).append(i)
        order = sorted(alike.values(), key=lambda same: (docs[same[0]].generation_size, len(docs[same[0]].query)))
        texts: dict[int, str] = {}
        begins: dict[int, list[float]] = {}
        with tqdm(total=len(docs), desc="DFA-Bench", unit=" answers") as progress:
            while order:
                size = docs[order[-1][0]].generation_size
                batch = [same for same in order[-self.batch_size :] if docs[same[0]].generation_size == size]
                del order[-len(batch) :]
                first = [docs[same[0]] for same in batch]
                asked = [[_asked(doc.query, doc.images or [])] for doc in first]
                for same, text, first in zip(batch, *self._answer(asked, size), strict=True):
                    texts.update(dict.fromkeys(same, text))
                    begins.update({i: self._log_probabilities(docs[i].choices, first) for i in same})
                answered = [i for same in batch for i in same]
                for i in answered:
                    docs[i].images = None
                progress.update(len(answered))
        return [ModelResponse(input=d.query, text=[texts[i]], logprobs=begins[i]) for i, d in enumerate(docs)]

    @cached_property
    def _tokens_of(self) -> dict[str, list[int]]:
        """Word, in small letters → the tokens that are it, with a space before it or none."""
        tokens: dict[str, list[int]] = defaultdict(list)
        for token, number in self.processor.tokenizer.get_vocab().items():
            tokens[token.strip(" ▁Ġ").casefold()].append(number)
        return dict(tokens)

    def _log_probabilities(self, words: Sequence[str], first: Any) -> list[float]:
        """Return the log probability of each word as a first token; none at all where one is not a token."""
        tokens = [self._tokens_of.get(word.casefold(), []) for word in words]
        return [float(first[of_word].logsumexp(0)) for of_word in tokens] if all(tokens) else []

    def converse(self, images: Sequence[Any], questions: Sequence[list[str]], max_new_tokens: int) -> list[list[str]]:
        """Talk about every image: put its questions one after the other, each after the answers to those before.

        Args:
            images: a picture, or bytes that are not decoded yet (`{"bytes", "path"}`), for each conversation.
            questions: of each conversation, as many of one as of any other.
            max_new_tokens: of an answer.
        """
        answers: list[list[str]] = [[] for _ in images]
        with tqdm(total=sum(map(len, questions)), desc="Conversations", unit=" answers") as progress:
            for start in range(0, len(images), self.batch_size):
                part = range(start, min(start + self.batch_size, len(images)))
                messages = [[_asked(questions[i][0], [_decoded(images[i])])] for i in part]
                for turn in range(len(questions[start])):
                    said, _ = self._answer(messages, max_new_tokens)
                    for i, talk, text in zip(part, messages, said, strict=True):
                        answers[i].append(text)
                        talk.append({"role": "assistant", "content": [{"type": "text", "text": text}]})
                        if turn + 1 < len(questions[i]):
                            talk.append(_asked(questions[i][turn + 1]))
                    progress.update(len(part))
        return answers

    def _answer(self, conversations: list[list[dict[str, Any]]], max_new_tokens: int | None) -> tuple[list[str], Any]:
        """Return the answers, and the log probabilities of their first tokens, shape (answers, vocabulary)."""
        import torch

        first: list[torch.Tensor] = []

        def keep_first(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            if not first:
                first.append(logits.float().log_softmax(-1).cpu())
            return logits

        inputs = self.processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self.model.device, dtype=self.model.dtype)
        with torch.inference_mode():
            output = self.model.generate(
                **inputs, max_new_tokens=max_new_tokens, do_sample=False, logits_processor=[keep_first]
            )
        answers = output[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.batch_decode(answers, skip_special_tokens=True)], first[0]
