"""Documents per second of DFA-Bench, compared with the backend of `lighteval accelerate --vision-model`.

    python tests/benchmarks/bench.py

Both use the same LLaVA of random weights with 576 image tokens, the same rows and their four questions. lighteval is
measured with its default batch size of one and with batches. The script fails if the answers differ. If other work
shares the processor, processor time is more reliable than wall-clock time.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from lighteval.models.transformers.vlm_transformers_model import VLMTransformersModel, VLMTransformersModelConfig
from lighteval.tasks.requests import Doc
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from dfa_instruct.bench.bench_model import BenchModel
from dfa_instruct.instruct.options import lettered
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vlm.prefix_cache import VisionLanguageModel
from modeling_dfa_gpt.bases.processor import make_processor, train_tokenizer

FACES = 6
ANSWERS = {"df_d": 8, "df_c": 24, "ad": 64, "df_t": 16}
"""Tokens of an answer to each question, about as many as a trained model says."""
OPTIONS = lettered(["an option of a few words"] * 5)
AIM = 3.0


def make_model(folder: Path) -> None:
    """Write a LLaVA of random weights that looks at 576 patches: as wide as DINOv2-S and a third of SmolLM2-135M."""
    texts = [question for questions in libraries().bench.values() for question in questions]
    processor = make_processor(train_tokenizer(texts, 600), 384, 16)
    torch.manual_seed(0)
    small = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6}
    large = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 10}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=384, patch_size=16, **small),
        text_config=LlamaConfig(vocab_size=len(processor.tokenizer), max_position_embeddings=2048, **large, **heads),
        image_token_index=processor.image_token_id,
        image_seq_length=576,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def documents() -> list[Doc]:
    """Return the questions of all tasks about every face; images are not decoded yet."""
    templates = libraries().bench
    docs = []
    for ability, tokens in ANSWERS.items():
        for number, face in enumerate(draw_sample(FACES, 1)):
            question = templates[ability][number % len(templates[ability])].format(options=OPTIONS)
            image = Image.open(io.BytesIO(face.to_png()))
            docs.append(Doc(question, ["Yes", "No"], 0, images=[image], generation_size=tokens))
    return docs


def timed(work: Callable[[list[Doc]], list[str]]) -> tuple[float, float, list[str]]:
    """Return wall-clock and processor seconds, and the answers."""
    docs = documents()
    wall, own = time.perf_counter(), time.process_time()
    answers = work(docs)
    return time.perf_counter() - wall, time.process_time() - own, answers


def main() -> None:
    """Measure each way, and print documents per second."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        make_model(folder)
        ours = BenchModel(VisionLanguageModel(folder))
        found = {"ours": timed(lambda docs: [r.text[0] for r in ours.greedy_until(docs)])}
        for size in (1, FACES):
            config = VLMTransformersModelConfig(
                model_name=str(folder), device="cpu", batch_size=size, cache_dir=scratch, dtype="float32"
            )
            theirs = VLMTransformersModel(config)
            found[f"lighteval, batch_size={size}"] = timed(partial(asked_by_task, theirs))
    count = len(found["ours"][2])
    for name, (wall, own, _) in found.items():
        print(
            f"{name}: {count / wall:.2f} documents/s, {1000 * own / count:.0f} ms of processor time each; "
            f"ours is {wall / found['ours'][0]:.1f} times as fast, by processor time {own / found['ours'][1]:.1f}"
        )
    print(f"{FACES} faces, {count} questions, 576 image tokens, {torch.get_num_threads()} threads")
    if any(answers != found["ours"][2] for _, _, answers in found.values()):
        raise SystemExit("the answers differ")
    alone = found["lighteval, batch_size=1"]
    if max(alone[0] / found["ours"][0], alone[1] / found["ours"][1]) < AIM:
        raise SystemExit(f"expected to be {AIM} times as fast as `lighteval accelerate --vision-model`")


def asked_by_task(model: VLMTransformersModel, docs: list[Doc]) -> list[str]:
    """Ask lighteval's backend task by task, because the first document sets the length for a batch."""
    answers: list[str] = []
    for tokens in ANSWERS.values():
        said = model._greedy_until([doc for doc in docs if doc.generation_size == tokens])
        answers += [r.text if isinstance(r.text, str) else r.text[0] for r in said]
    return [answer.strip() for answer in answers]


if __name__ == "__main__":
    main()
