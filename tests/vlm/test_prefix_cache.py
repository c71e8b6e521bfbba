"""One look at a picture for all questions: the answers are those of questions that are read from the beginning."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import torch
from bench_data import tiny_base
from lighteval.tasks.requests import Doc

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.vlm import prefix_cache
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel

QUESTIONS = (
    ("Is this face forged?", ["No", "I"], 8),
    (
        "Which category does this face belong to? Choose one option.\nA. bona fide\nB. face editing",
        ["bona fide", "face editing"],
        12,
    ),
    ("Describe the artifacts that are visible in this face, region by region.", ["The eyes."], 24),
)


def picture(number: int) -> PIL.Image.Image:
    """A picture that is not decoded yet, as those of a dataset are."""
    file = io.BytesIO()
    noise = np.random.default_rng(number).integers(0, 255, (48, 48, 3), np.uint8)
    PIL.Image.fromarray(noise).save(file, format="PNG")
    return PIL.Image.open(file)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VisionLanguageModel:
    model = VisionLanguageModel(tiny_base(tmp_path_factory.mktemp("model") / "base", seed=0), batch_size=4)
    with torch.no_grad():  # weights as small as a new model's hardly look at the picture
        for module in model.model.model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.mul_(10)
    return model


@pytest.fixture
def docs() -> list[Doc]:
    return [
        Doc(query, choices, 0, images=[picture(number)], generation_size=size)
        for query, choices, size in QUESTIONS
        for number in range(6)
    ]


def fresh(model: VisionLanguageModel) -> BenchModel:
    model._last = [], None
    return BenchModel(model)


def test_answers_and_first_tokens_are_those_of_separate_questions(
    model: VisionLanguageModel, docs: list[Doc], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert next(model.model.parameters()).dtype == torch.float32
    together = fresh(model).greedy_until(docs)
    assert model._last[1] is not None
    monkeypatch.setattr(prefix_cache, "read_prefix", lambda *_: None)
    separate = [response for doc in docs for response in fresh(model).greedy_until([doc])]
    assert [r.text for r in together] == [r.text for r in separate]
    assert len({r.text[0] for r in together}) > 6
    told = [(a.logprobs, b.logprobs) for a, b in zip(together, separate, strict=True) if a.logprobs]
    assert len(told) == 12  # words that are tokens, and the letters of options
    for a, b in told:
        assert a == pytest.approx(b, abs=1e-4)


def test_a_picture_is_looked_at_once_and_read_once(model: VisionLanguageModel, docs: list[Doc]) -> None:
    pictures: list[int] = []
    places: list[int] = []
    hooks = [
        model.model.model.vision_tower.register_forward_hook(lambda *_: pictures.append(1)),
        model.model.get_input_embeddings().register_forward_hook(
            lambda _, given, __: places.append(
                int((given[0] == model.processor.image_token_id).sum()) if given[0].shape[1] > 1 else 0
            )
        ),
    ]
    fresh(model).greedy_until(docs)
    for hook in hooks:
        hook.remove()
    assert len(pictures) == 2  # batches of four pictures
    assert sum(places) == 6 * model.model.config.image_seq_length


def test_the_turns_of_a_conversation_share_the_look(model: VisionLanguageModel) -> None:
    pictures: list[int] = []
    hook = model.model.model.vision_tower.register_forward_hook(lambda *_: pictures.append(1))
    asked = [["Is this face forged?", "Why do you say so?", "Describe its artifacts."]] * 3
    said = fresh(model).converse([picture(number) for number in range(3)], asked, 10)
    hook.remove()
    assert len(pictures) == 1 and all(len(talk) == 3 and all(talk) for talk in said)
    assert said[1:2] == fresh(model).converse([picture(1)], asked[:1], 10)


def test_a_model_of_another_kind_reads_each_question_by_itself(
    model: VisionLanguageModel, docs: list[Doc], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fresh(model).greedy_until(docs[:2])
    monkeypatch.setattr(model.model.config, "model_type", "another")
    assert [r.text for r in fresh(model).greedy_until(docs[:2])] == [r.text for r in expected]
    assert model._last[1] is None
