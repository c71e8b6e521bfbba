"""A vision-language model in this process, greedy, in batches: one look at a picture for all questions about it.

All questions about a picture begin alike up to its end. That part is read once, pictures in a batch; each question gets
a copy of its picture's keys and values and reads its own tokens only. The answers are those of questions that are read
from the beginning (`tests/vlm/test_prefix_cache.py`).

lighteval's own vision backend does not serve here: it cannot load an adapter folder, keeps answers under the model's
name whatever its weights, and reads the picture anew for every question about it.
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
from dfa_instruct.vlm.chat import CUT, Answer, Chat, Keep, Room, decoded, folded
from dfa_instruct.vlm.inputs import encode_images, encode_prompts, on, prompt_tokens
from dfa_instruct.vlm.load import load_model, load_processor
from dfa_instruct.vlm.messages import Message, dialogue, render
from dfa_instruct.vlm.parts import FAMILIES
from dfa_instruct.vlm.thoughts import opens_thought, split_thought, thought_begun


@dataclass(frozen=True)
class Prefix:
    """What was read of a batch of pictures: all that stands before the questions about them, the picture at its end.

    Attributes:
        ids: token ids, shape (pictures, length).
        cache: keys and values of these tokens.
        config: the language model's configuration.
    """

    ids: Any
    cache: Any
    config: Any

    def inputs(self, processor: Any, rows: list[int], asked: list[list[Message]], tokens: int) -> dict[str, Any]:
        """Return what `generate` takes to answer questions.

        Questions are padded on their left, between the picture and them; a padded token has no position.

        Args:
            processor: the model's processor.
            rows: for each question, the number of its picture.
            asked: for each question, the messages of its conversation.
            tokens: the most tokens of an answer.
        """
        import torch
        from transformers import StaticCache

        device, length = self.ids.device, self.ids.shape[1]
        tails = [question_tokens(processor, messages) for messages in asked]
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


def question_tokens(processor: Any, messages: list[Message]) -> list[int]:
    """Return the token ids that stand behind the picture."""
    prompt = prompt_tokens(processor, render(processor, messages), [processor.image_token_id])
    return prompt[prompt.index(processor.image_token_id) + 1 :]


def read_prefix(model: Any, processor: Any, asked: list[Message], images: list[Any]) -> Prefix | None:
    """Read pictures and what stands before the questions about them.

    Args:
        model: a model of Transformers.
        processor: its processor.
        asked: the messages of any conversation about the pictures.
        images: the pictures, in RGB.

    Returns:
        None where each question must be read from its beginning: the family is unknown or its positions do not allow
        it, or the pictures do not all have as many tokens.
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
    """Greedy answers to questions about images: all questions about an image share one look at it, in batches.

    It computes on a GPU where there is one, in bfloat16, else on the CPU in float32. Under `accelerate launch`, the
    processes share the pictures, and each has all answers in the end.

    Args:
        model: a folder (an adapter's or a whole model's) or a Hub id.
        batch_size: images, and questions, at a time; by default 32 on a CPU, 16 on a GPU.

    Raises:
        OSError: no such model is there, the Hub cannot be asked for it, or its weights cannot be read.
        ValueError: it takes no images, needs a package that is not installed, or is not loaded for its pickle.
    """

    def __init__(self, model: str | Path, *, batch_size: int | None = None) -> None:
        self.processor = load_processor(model)  # before the imports, which take seconds

        import torch
        from accelerate import PartialState
        from peft.tuners.tuners_utils import BaseTunerLayer

        self.state = PartialState()
        self.model = load_model(model)
        for module in self.model.modules():
            # Beside the weights, an adapter costs two products more for each; in less than float32 it would be rounded.
            if isinstance(module, BaseTunerLayer) and self.model.dtype == torch.float32:
                module.merge()
        self.weights = self.model.num_parameters()
        self.batch_size = batch_size or (16 if self.model.device.type == "cuda" else 32)
        self.room = Room(thinks=opens_thought(str(self.processor.chat_template)))
        self.conversations = self.batch_size * self.state.num_processes
        self.shows = self.state.is_main_process
        self._last: tuple[list[str], Prefix | None] = [], None

    def identity(self, kept: AnswerCache | None = None) -> str:
        """Return a digest of the weights, and of all else that its answers depend on."""
        import torch

        sha = hashlib.sha256()
        tokenizer, template = self.processor.tokenizer, self.processor.chat_template
        adapters = {name: config.to_dict() for name, config in getattr(self.model, "peft_config", {}).items()}
        settings = [self.model.config.to_json_string(), self.processor.image_processor.to_json_string(), template]
        told = [*settings, adapters, sorted(tokenizer.get_vocab().items())]
        sha.update(json.dumps(told, default=lambda v: sorted(v) if isinstance(v, set) else str(v)).encode())
        for name, weights in self.model.state_dict().items():
            sha.update(name.encode())
            sha.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return sha.hexdigest()

    def agreed(self, known: dict[str, Answer]) -> dict[str, Answer]:
        """Return what the first of the processes knows."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([known])[0]

    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Answer chats, in each process those about its share of the pictures, and collect the others' answers."""
        from accelerate.utils import gather_object

        said: dict[int, Answer] = {}

        def note(number: int, answer: Answer) -> None:
            said[number] = answer
            keep(number, answer)

        self._answer(chats, note)
        if self.state.num_processes > 1:
            for number, answer in gather_object([*said.items()]):
                if number not in said:
                    keep(number, answer)

    def _answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        """Answer this process's share of chats picture by picture, a batch of pictures at a time."""
        about: dict[str, list[int]] = defaultdict(list)
        for number, chat in enumerate(chats):
            about[chat.about].append(number)
        pictures = list(about)[self.state.process_index :: self.state.num_processes]
        for start in range(0, len(pictures), self.batch_size):
            some = pictures[start : start + self.batch_size]
            seen = self._look(some, [chats[about[picture][0]] for picture in some])
            # Questions of one kind together, for a batch takes as long as its longest answer.
            waiting = sorted(
                (i for p in some for i in about[p]), key=lambda i: (chats[i].tokens, sum(map(len, chats[i].turns)))
            )
            while waiting:
                tokens = chats[waiting[-1]].tokens
                batch = [i for i in waiting[-self.batch_size :] if chats[i].tokens == tokens]
                del waiting[-len(batch) :]
                given = self.room.tokens(chats[batch[0]])
                answers = self._answers([chats[i] for i in batch], seen)
                if any(self.room.was_short(chats[i], answer, given) for i, answer in zip(batch, answers, strict=True)):
                    answers = self._answers([chats[i] for i in batch], seen)
                for number, answer in zip(batch, answers, strict=True):
                    keep(number, answer)

    def _look(self, pictures: list[str], chats: list[Chat]) -> Prefix | None:
        """Read these pictures, and what stands before the questions; a conversation's later turns ask for it again."""
        if self._last[0] != pictures:
            self._last = pictures, None  # let go of the last one first
            images = [decoded(chat.picture) for chat in chats]
            self._last = pictures, read_prefix(self.model, self.processor, dialogue(chats[0].turns), images)
        return self._last[1]

    def _answers(self, chats: list[Chat], seen: Prefix | None) -> list[Answer]:
        """Answer one batch."""
        import torch

        first: list[torch.Tensor] = []
        tokens = self.room.tokens(chats[0])

        def keep_first(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            if not first:
                first.append(logits.float().log_softmax(-1).cpu())
            return logits

        asked = [dialogue(chat.turns) for chat in chats]
        if seen is not None:
            rows = [self._last[0].index(chat.about) for chat in chats]
            inputs = seen.inputs(self.processor, rows, asked, tokens)
        else:
            images = [decoded(chat.picture) for chat in chats]
            inputs = on(self.model, encode_prompts(self.processor, asked, images))
        with torch.inference_mode():
            output = self.model.generate(
                **inputs, max_new_tokens=tokens, do_sample=False, logits_processor=[keep_first]
            )
        return [
            self._answer_of(chat, ids, begins)
            for chat, ids, begins in zip(chats, output[:, inputs["input_ids"].shape[1] :], first[0], strict=True)
        ]

    def _answer_of(self, chat: Chat, ids: Any, begins: Any) -> Answer:
        """Return the answer that token ids are; `begins` are the log probabilities of its first token."""
        ends = self.model.generation_config.eos_token_id
        ended = any(end in ids for end in (ends if isinstance(ends, list) else [ends]) if end is not None)
        text = self.processor.decode(ids, skip_special_tokens=True)
        marked = self.processor.decode(ids, skip_special_tokens=False)
        if opens_thought(marked) and not opens_thought(text):  # the marks of some models' thoughts are special tokens
            text = marked
            for token in self.processor.tokenizer.all_special_tokens:
                text = text if opens_thought(token) else text.replace(token, "")
        thought, text = split_thought(self._opening + text)
        first = () if thought else self._log_probabilities(chat.choices, begins)
        return Answer(text.strip(), first, thought, "stop" if ended else CUT)

    @cached_property
    def _opening(self) -> str:
        """The mark of a thought that the chat template opens before the answer; empty where it opens none."""
        return thought_begun(render(self.processor, dialogue(["?"])))

    @cached_property
    def _tokens_of(self) -> dict[str, list[int]]:
        """Word, in small letters if it has several → the tokens that are it, with a space before it or none."""
        tokens: dict[str, list[int]] = defaultdict(list)
        for token, number in self.processor.tokenizer.get_vocab().items():
            tokens[folded(token.strip(" ▁Ġ"))].append(number)
        return dict(tokens)

    def _log_probabilities(self, words: Sequence[str], first: Any) -> tuple[float, ...]:
        """Return the log probability of each word as a first token; none at all where one is no token."""
        tokens = [self._tokens_of.get(folded(word), []) for word in words]
        return tuple(float(first[of_word].logsumexp(0)) for of_word in tokens) if all(tokens) else ()
