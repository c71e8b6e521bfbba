"""Answers are kept beside the dataset: a bench that was killed goes on, and new weights are asked anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from bench_data import opened, row, tiny_base, write, write_counts

from dfa_instruct.bench.bench_model import BenchModel, answers_path
from dfa_instruct.bench.runner import run_bench
from dfa_instruct.vlm.answer_cache import AnswerCache
from dfa_instruct.vlm.chat import Answer, Chat, Keep, TokenBudget
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from dfa_instruct.vocabulary import CATEGORIES


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_counts(tmp_path / "dfa-instruct", test=dict.fromkeys(CATEGORIES, 1))


class Counting:
    """A model that says how many chats it has answered, and breaks off after so many."""

    weights, is_main_process, conversation_batch = None, True, 2

    def __init__(self, most: int = 10**6, identity: str = "counting") -> None:
        self.budget, self.most, self.asked, self._identity = TokenBudget(), most, 0, identity

    def identity(self, kept: AnswerCache | None) -> str:
        return self._identity

    def synchronize(self, known: dict[str, Answer]) -> dict[str, Answer]:
        return known

    def answer(self, chats: Sequence[Chat], keep: Keep) -> None:
        for number, chat in enumerate(chats):
            if self.asked == self.most:
                raise KeyboardInterrupt
            self.asked += 1
            keep(number, Answer(str(self.asked), tuple(-0.5 - place for place in range(len(chat.choices)))))


def kept_beside(model: Counting, data: Path) -> BenchModel:
    return BenchModel(model, AnswerCache(answers_path(data)))


def said(model: BenchModel | Counting, data: Path) -> list[tuple[str, object]]:
    model = kept_beside(model, data) if isinstance(model, Counting) else model
    return [(p["answer"], p.get("first_token")) for p in run_bench(model, data)["predictions"]]


def test_a_bench_that_was_killed_goes_on_where_it_stopped(data: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        said(Counting(most=7), data)
    rest = Counting()
    answers = said(rest, data)
    unread = 2 * 5 + 4  # numbers are no verdicts: each is asked for again
    assert rest.asked == 3 * 5 + 4 - 7 + unread
    assert [text for text, _ in answers[:8]] == ["1", "2", "3", "4", "5", "6", "7", "1"]
    assert answers[0][1] == {"Yes": -0.5, "No": -1.5}
    again = Counting()
    assert said(again, data) == answers and again.asked == 0
    other = Counting(identity="another")
    assert said(other, data) != answers and other.asked == 19 + unread


def test_a_turn_is_known_by_all_that_was_said_before(data: Path) -> None:
    counting = Counting()
    model = kept_beside(counting, data)
    pictures = [{"bytes": bytes([number]), "path": None} for number in range(3)]
    first = model.converse(pictures, [["Is it forged?", "Why?"]] * 3, 9)
    assert first == [["1", "3"], ["2", "4"], ["5", "6"]]
    assert model.converse(pictures, [["Is it forged?", "Why?"]] * 3, 9) == first and counting.asked == 6
    model.converse(pictures[:1], [["Is it real?", "Why?"]], 9)
    model.converse(pictures[:1], [["Is it forged?", "Why?"]], 8)
    assert counting.asked == 10


def test_weights_trained_anew_into_the_same_folder_are_asked_anew(data: Path, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    folder = tmp_path / "model"

    def trained(seed: int) -> str:
        """Write a model that soon ends its answers, for one that was cut is not kept."""
        tiny_base(folder, seed)
        GenerationConfig(eos_token_id=[2, *range(100, 400)], pad_token_id=0).save_pretrained(folder)
        return str(folder)

    before = said(opened(trained(seed=1), data), data)
    kept = opened(str(folder), data)
    kept.model.answer = lambda chats, keep: pytest.fail("asked again")  # type: ignore[method-assign]
    assert said(kept, data) == before
    assert said(opened(trained(seed=2), data), data) != before
    assert said(opened(trained(seed=1), data), data) == before


def test_a_file_that_is_no_store_is_named(data: Path) -> None:
    answers_path(data).write_text("not a database, but a text of some length" * 100)
    with pytest.raises(ValueError, match=r"dfa-instruct\.answers\.sqlite: not a store of a model's answers"):
        said(Counting(), data)


def test_nothing_is_written_where_there_is_no_dataset_or_no_question(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        said(Counting(), tmp_path / "nothing")
    empty = write(tmp_path / "empty", {"test": [{**row("bona_fide", "test", 7), "bench": []}]})
    with pytest.raises(ValueError, match="has no bench question"):
        said(Counting(), empty)
    assert not list(tmp_path.glob("*.sqlite"))


def test_a_model_without_image_input_is_refused_in_one_line(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from modeling_dfa_gpt.bases.processor import train_tokenizer

    folder = tmp_path / "language"
    tokenizer = train_tokenizer(["Is this face forged?"], 300)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(**size, vocab_size=len(tokenizer))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match="language: it takes no images; expected a vision-language model") as error:
        VisionLanguageModel(folder)
    assert "\n" not in str(error.value)
