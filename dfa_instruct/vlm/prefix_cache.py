"""A vision-language model in this process, which processes a picture once for all questions about it.

All prompts about a picture are the same up to the picture's end. This prefix is processed once, in a batch of pictures.
Each question gets a copy of its picture's keys and values, and only its own tokens are processed. The answers are the
same as those of complete prompts (`tests/vlm/test_prefix_cache.py`).

lighteval's own vision backend is not used: it cannot load an adapter folder, caches answers under the model's name
regardless of its weights, and processes the picture for every question.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import CUT, Answer, Chat, Keep, TokenBudget, decoded, fold_case
from dfa_instruct.vlm.inputs import encode_images, encode_prompts, on, prompt_tokens
from dfa_instruct.vlm.load import load_model, load_processor
from dfa_instruct.vlm.messages import Message, dialogue, render
from dfa_instruct.vlm.parts import FAMILIES
from dfa_instruct.vlm.thoughts import has_thought_mark, opening_mark, split_thought


@dataclass(frozen=True)
class Prefix:
    """The processed prefixes of a batch of pictures: everything before the questions, up to the end of the picture.

    Attributes:
        ids: Token ids, shape (pictures, length).
        cache: The keys and values of these tokens.
        config: The language model's configuration.
    """

    ids: Any
    cache: Any
    config: Any

    def inputs(self, processor: Any, rows: list[int], asked: list[list[Message]], tokens: int) -> dict[str, Any]:
        """Return the inputs of `generate` for a batch of questions.

        Questions are padded on the left, between the picture and the question. Padding tokens are masked.

        Args:
            processor: The model's processor.
            rows: The index of each question's picture.
            asked: The messages of each question's conversation.
            tokens: The maximum number of tokens of an answer.
        """
        import torch
        from transformers import StaticCache

        device, length = self.ids.device, self.ids.shape[1]
        questions = [question_tokens(processor, messages) for messages in asked]
        longest = max(map(len, questions))
        ids = torch.full((len(rows), length + longest), processor.tokenizer.pad_token_id, device=device)
        mask = torch.zeros_like(ids)
        ids[:, :length], mask[:, :length] = self.ids[rows], 1
        for row, question in enumerate(questions):
            ids[row, -len(question) :], mask[row, -len(question) :] = torch.tensor(question, device=device), 1
        # A dynamic cache would be copied for every token of the answer.
        cache = StaticCache(self.config, max_cache_len=length + longest + tokens)
        for number, layer in enumerate(self.cache.layers):
            cache.update(layer.keys[rows], layer.values[rows], number)
        return {"input_ids": ids, "attention_mask": mask, "past_key_values": cache, "disable_compile": True}


def question_tokens(processor: Any, messages: list[Message]) -> list[int]:
    """Return the token ids after the picture."""
    prompt = prompt_tokens(processor, render(processor, messages), [processor.image_token_id])
    return prompt[prompt.index(processor.image_token_id) + 1 :]


def read_prefix(model: Any, processor: Any, asked: list[Message], images: list[Any]) -> Prefix | None:
    """Process the prefixes of RGB pictures; `asked` are the messages of any conversation about them.

    Returns:
        The prefixes. None if they cannot be shared, because the model's family does not allow it or the pictures have
        different numbers of tokens.
    """
    import torch
    from transformers import DynamicCache

    family = FAMILIES.get(model.config.model_type)
    if family is None or not family.prefix_cache:
        return None
    encoded = encode_images(processor, images)
    question = len(question_tokens(processor, asked))
    before = [prompt_tokens(processor, render(processor, asked), image)[:-question] for image in encoded.tokens]
    if len({len(ids) for ids in before}) > 1:
        return None
    ids = torch.tensor(before, device=model.device)
    config = model.config.get_text_config()
    cache = DynamicCache(config=config)
    with torch.inference_mode():
        model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **on(model, encoded.features),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    return Prefix(ids, cache, config)


class VisionLanguageModel:
    """Greedy answers of a model in this process, see `Model`.

    The model runs on a GPU in bfloat16, or else on the CPU in float32. Under `accelerate launch`, the pictures are
    divided among the processes, and each process gets all answers in the end.

    Args:
        model: A folder (of a model or of an adapter) or a Hub id.
        batch_size: The number of images, and of questions, in a batch; by default 32 on a CPU and 16 on a GPU.

    Raises:
        OSError: The model does not exist, the Hub cannot be reached, or the weights cannot be read.
        ValueError: The model takes no images, needs a package that is not installed, or has no safetensors.
    """

    def __init__(self, model: str | Path, *, batch_size: int | None = None) -> None:
        self.processor = load_processor(model)  # before the imports, which take seconds

        import torch
        from accelerate import PartialState
        from peft.tuners.tuners_utils import BaseTunerLayer

        self.state = PartialState()
        self.model = load_model(model)
        for module in self.model.modules():
            # Merging saves two matrix products for each layer; below float32, it would round the adapter.
            if isinstance(module, BaseTunerLayer) and self.model.dtype == torch.float32:
                module.merge()
        self.weights = self.model.num_parameters()
        self.batch_size = batch_size or (16 if self.model.device.type == "cuda" else 32)
        self.budget = TokenBudget(thinks=has_thought_mark(str(self.processor.chat_template)))
        self.conversation_batch = self.batch_size * self.state.num_processes
        self.is_main_process = self.state.is_main_process
        self._last: tuple[list[str], Prefix | None] = [], None

    def identity(self, kept: AnswerCache | None = None) -> str:
        """Return a digest of the weights and of everything else that answers depend on."""
        import torch

        sha = hashlib.sha256()
        tokenizer, template = self.processor.tokenizer, self.processor.chat_template
        adapters = {name: config.to_dict() for name, config in getattr(self.model, "peft_config", {}).items()}
        settings = [self.model.config.to_json_string(), self.processor.image_processor.to_json_string(), template]
        described = [*settings, adapters, sorted(tokenizer.get_vocab().items())]
        sha.update(json.dumps(described, default=lambda v: sorted(v) if isinstance(v, set) else str(v)).encode())
        for name, weights in self.model.state_dict().items():
            sha.update(name.encode())
            sha.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return sha.hexdigest()

    def synchronize(self, known: dict[str, Answer]) -> dict[str, Answer]:
        """Return the known answers of the main process."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([known])[0]

    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Answer the chats about this process's share of the pictures, and collect the other processes' answers."""
        from accelerate.utils import gather_object

        own: dict[int, Answer] = {}

        def note(number: int, answer: Answer) -> None:
            own[number] = answer
            keep(number, answer)

        self._answer(chats, note)
        if self.state.num_processes > 1:
            for number, answer in gather_object([*own.items()]):
                if number not in own:
                    keep(number, answer)

    def _answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Answer this process's share of the chats, one batch of pictures after the other."""
        by_picture: dict[str, list[int]] = defaultdict(list)
        for number, chat in enumerate(chats):
            by_picture[chat.picture_digest].append(number)
        pictures = list(by_picture)[self.state.process_index :: self.state.num_processes]
        for start in range(0, len(pictures), self.batch_size):
            batch_pictures = pictures[start : start + self.batch_size]
            prefix = self._prefix(batch_pictures, [chats[by_picture[picture][0]] for picture in batch_pictures])
            # Similar questions are answered together, because a batch takes as long as its longest answer.
            waiting = sorted(
                (i for p in batch_pictures for i in by_picture[p]),
                key=lambda i: (chats[i].tokens, sum(map(len, chats[i].turns))),
            )
            while waiting:
                tokens = chats[waiting[-1]].tokens
                batch = [i for i in waiting[-self.batch_size :] if chats[i].tokens == tokens]
                del waiting[-len(batch) :]
                given = self.budget.tokens(chats[batch[0]])
                answers = self._answers([chats[i] for i in batch], prefix)
                if any(
                    self.budget.needs_more(chats[i], answer, given) for i, answer in zip(batch, answers, strict=True)
                ):
                    answers = self._answers([chats[i] for i in batch], prefix)
                for number, answer in zip(batch, answers, strict=True):
                    keep(number, answer)

    def _prefix(self, pictures: list[str], chats: list[Chat]) -> Prefix | None:
        """Return the prefix of these pictures, which the later turns of a conversation use again."""
        if self._last[0] != pictures:
            self._last = pictures, None  # frees the memory of the previous one
            images = [decoded(chat.picture) for chat in chats]
            self._last = pictures, read_prefix(self.model, self.processor, dialogue(chats[0].turns), images)
        return self._last[1]

    def _answers(self, chats: list[Chat], prefix: Prefix | None) -> list[Answer]:
        """Answer one batch."""
        import torch

        first: list[torch.Tensor] = []
        tokens = self.budget.tokens(chats[0])

        def keep_first(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            if not first:
                first.append(logits.float().log_softmax(-1).cpu())
            return logits

        asked = [dialogue(chat.turns) for chat in chats]
        if prefix is not None:
            rows = [self._last[0].index(chat.picture_digest) for chat in chats]
            inputs = prefix.inputs(self.processor, rows, asked, tokens)
        else:
            images = [decoded(chat.picture) for chat in chats]
            inputs = on(self.model, encode_prompts(self.processor, asked, images))
        with torch.inference_mode():
            output = self.model.generate(
                **inputs, max_new_tokens=tokens, do_sample=False, logits_processor=[keep_first]
            )
        return [
            self._decode(chat, ids, first_token)
            for chat, ids, first_token in zip(chats, output[:, inputs["input_ids"].shape[1] :], first[0], strict=True)
        ]

    def _decode(self, chat: Chat, ids: Any, first_token: Any) -> Answer:
        """Return an answer from its token ids and the log probabilities of its first token, shape (vocabulary,)."""
        ends = self.model.generation_config.eos_token_id
        ended = any(end in ids for end in (ends if isinstance(ends, list) else [ends]) if end is not None)
        text = self.processor.decode(ids, skip_special_tokens=True)
        marked = self.processor.decode(ids, skip_special_tokens=False)
        if has_thought_mark(marked) and not has_thought_mark(text):  # some models mark thoughts by special tokens
            text = marked
            for token in self.processor.tokenizer.all_special_tokens:
                text = text if has_thought_mark(token) else text.replace(token, "")
        thought, text = split_thought(self._opening + text)
        first = () if thought else self._log_probabilities(chat.choices, first_token)
        return Answer(text.strip(), first, thought, "stop" if ended else CUT)

    @cached_property
    def _opening(self) -> str:
        """The mark by which the chat template opens a thought before the answer; empty if there is none."""
        return opening_mark(render(self.processor, dialogue(["?"])))

    @cached_property
    def _tokens_of(self) -> dict[str, list[int]]:
        """Word (see `fold_case`) → the tokens that consist of it, with or without a leading space."""
        tokens: dict[str, list[int]] = defaultdict(list)
        for token, number in self.processor.tokenizer.get_vocab().items():
            tokens[fold_case(token.strip(" ▁Ġ"))].append(number)
        return dict(tokens)

    def _log_probabilities(self, words: Sequence[str], first: Any) -> tuple[float, ...]:
        """Return the log probability of each word as the first token; empty if a word is not a token."""
        tokens = [self._tokens_of.get(fold_case(word), []) for word in words]
        return tuple(float(first[of_word].logsumexp(0)) for of_word in tokens) if all(tokens) else ()
