"""Questions a second: shared prefix against separate rows, the same model and questions, in turn in one run.

    python tests/benchmarks/shared_prefix.py

An untrained LLaVA with 8 layers of width 512 and 576 image tokens; two drawn portraits with seven questions each.
"""

from __future__ import annotations

import time

import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from dfa_instruct.annotate.measured import annotate
from dfa_instruct.dataset import messages
from dfa_instruct.instruct import questions_and_answers
from dfa_instruct.sample import draw_sample
from modeling_dfa_gpt.processing import make_processor, train_tokenizer
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator

REPEATS = 3
LARGE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
SMALL = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}


def main() -> None:
    """Measure, and print the ratio of each pair of runs."""
    faces = list(draw_sample(identities=2, pictures=1))
    asked = [questions_and_answers(face, [], annotate(face, []), seed=0) for face in faces]
    pairs = [[{"question": qa.question, "answer": qa.answer} for qa in questions] for questions in asked]
    tokenizer = train_tokenizer([text for qa in pairs for pair in qa for text in pair.values()], 1000)
    processor = make_processor(tokenizer, 384, 16)
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=384, patch_size=16, **SMALL),
        text_config=LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=8, **LARGE),
        image_token_index=processor.image_token_id,
        image_seq_length=576,
        vision_feature_layer=-1,
    )
    model = LlavaForConditionalGeneration(config)
    images = [Image.fromarray(face.image) for face in faces]
    packed = [{"images": [i], "messages": messages(qa)} for i, qa in zip(images, pairs, strict=True)]
    separate = [
        {"images": [i], "messages": messages([pair])} for i, qa in zip(images, pairs, strict=True) for pair in qa
    ]
    batches = {
        "shared prefix": SharedPrefixCollator(processor)(packed),
        "separate rows": DataCollatorForVisionLanguageModeling(processor, assistant_only_loss=True)(separate),
    }
    for name, batch in batches.items():
        print(f"{name}: {batch['input_ids'].numel()} tokens for {len(separate)} questions")
    ratios = []
    for repeat in range(REPEATS + 1):
        seconds = {name: step(model, batch) for name, batch in batches.items()}
        if repeat:  # the first pair warms up
            ratios.append(seconds["separate rows"] / seconds["shared prefix"])
            print("  ".join(f"{name} {len(separate) / s:.2f} questions/s" for name, s in seconds.items()))
    print(f"shared prefix is {sorted(ratios)[len(ratios) // 2]:.2f} times as fast (median of {REPEATS} pairs)")


def step(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> float:
    """Time one forward and backward pass, in seconds."""
    start = time.perf_counter()
    model.zero_grad()
    model(**batch).loss.backward()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
