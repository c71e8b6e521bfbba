"""Questions a second: shared prefix against stock SFTTrainer rows, and LLaVA's own form, the same questions in one run.

    python tests/benchmarks/shared_prefix.py              # 8 layers of width 512, 576 image tokens, on the CPU
    python tests/benchmarks/shared_prefix.py --seven-b    # LLaVA-1.5-7B's shape, bf16, activation checkpointing

Drawn portraits with seven questions each, in three forms: every question a branch (shared prefix) or a row (stock
rows), which teach the same, each question by itself; or all seven the turns of one row, as LLaVA trains, in which every
question but the first is learnt with the answers to those before it in sight. Each form trains LoRA and the projector
by its Trainer, data loading and optimizer included, at several batch sizes, and each at its best is compared, in turn.
The second command needs a GPU of 80 GB; no GPU was at hand when it was written, and it has not been run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, Features, Image, List, Value
from peft import LoraConfig
from transformers import (
    AutoConfig,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PrinterCallback,
    TrainerCallback,
)
from trl import SFTConfig, SFTTrainer

from dfa_instruct.annotate.measured import Measured
from dfa_instruct.instruct.sampling import questions_and_answers
from dfa_instruct.instruct.templates import libraries
from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.bases.processor import make_processor, train_tokenizer
from modeling_dfa_gpt.data import DecodingCollator, undecoded
from modeling_dfa_gpt.estimate import PEAK, flops
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator
from modeling_dfa_gpt.trainable_parts import count_parameters
from modeling_dfa_gpt.trainer import DfaTrainer

QUESTIONS = 7
REPEATS = 2
LARGE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
SMALL = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4}
TARGETS = r"model\.language_model\..*\.(q|k|v|o|gate|up|down)_proj"
FEATURES = Features({"images": List(Image()), "messages": List({"role": Value("string"), "content": Value("string")})})


class Stopwatch(TrainerCallback):
    """Times the steps after the first, which warms up."""

    start = end = 0.0

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.start = self._now()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.end = self._now()


def measure(form: str, batch: int, config: Any, processor: Any, rows: list[dict[str, Any]], rank: int) -> float:
    """Train on every row once, after a first batch that warms up; return questions a second."""
    gpu = torch.cuda.is_available()
    torch.manual_seed(0)
    with torch.device("cuda" if gpu else "cpu"):
        model = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16 if gpu else torch.float32)
    dataset = Dataset.from_list(rows[:batch] + rows, features=FEATURES)
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as scratch:
        arguments: dict[str, Any] = {
            "model": model,
            "args": SFTConfig(
                output_dir=scratch,
                per_device_train_batch_size=batch,
                max_steps=1 + len(rows) // batch,
                train_sampling_strategy="sequential",
                assistant_only_loss=True,
                max_length=None,
                activation_checkpointing=gpu,
                bf16=gpu,
                use_cpu=not gpu,
                dataloader_num_workers=4 if gpu else 0,
                dataloader_pin_memory=gpu,
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            "processing_class": processor,
            "callbacks": [watch],
            "peft_config": LoraConfig(
                r=rank, lora_alpha=2 * rank, target_modules=TARGETS, modules_to_save=["multi_modal_projector"]
            ),
        }
        if form == "shared prefix":
            collator = DecodingCollator(SharedPrefixCollator(processor))
            trainer = DfaTrainer(train_dataset=undecoded(dataset), data_collator=collator, **arguments)
        else:
            trainer = SFTTrainer(train_dataset=dataset, **arguments)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    questions = sum(len(row["messages"]) // 2 for row in rows)
    return questions / (watch.end - watch.start)


def main(seven_b: bool) -> None:
    """Measure the forms, and print how shared prefix compares with the others, each at its best."""
    if seven_b and not torch.cuda.is_available():
        raise SystemExit("--seven-b needs a GPU")
    count = 32 if seven_b else 2
    faces = list(draw_sample(identities=count, pictures=1))
    asked = [
        questions_and_answers(face, Measured().annotate(face, []), 0, {}, libraries())[:QUESTIONS] for face in faces
    ]
    tokenizer = train_tokenizer([text for qa in asked for pair in qa for text in (pair.question, pair.answer)], 1000)
    if seven_b:
        recipe = files("modeling_dfa_gpt.recipes") / "dfa-gpt-7b" / "llava-1.5-7b-hf"
        config = AutoConfig.from_pretrained(Path(str(recipe)))
        config.image_token_index = tokenizer.convert_tokens_to_ids("<image>")
        processor = make_processor(tokenizer, 336, 14)
        sizes = {"shared prefix": (4, 8, 16), "turns of a row": (4, 8, 16), "stock rows": (8, 16, 32)}
        rank = 128
    else:
        processor = make_processor(tokenizer, 384, 16)
        config = LlavaConfig(
            vision_config=CLIPVisionConfig(image_size=384, patch_size=16, **SMALL),
            text_config=LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=8, **LARGE),
            image_token_index=processor.image_token_id,
            image_seq_length=576,
            vision_feature_layer=-1,
        )
        sizes = {"shared prefix": (1, 2), "turns of a row": (1, 2), "stock rows": (1, 2, 7)}
        rank = 16

    def row(face: Any, pairs: list[Any]) -> dict[str, Any]:
        turns = [
            {"role": role, "content": text}
            for p in pairs
            for role, text in (("user", p.question), ("assistant", p.answer))
        ]
        return {"images": [{"bytes": face.to_png(), "path": None}], "messages": turns}

    rows = {
        "shared prefix": [row(face, qa) for face, qa in zip(faces, asked, strict=True)],
        "turns of a row": [row(face, qa) for face, qa in zip(faces, asked, strict=True)],
        "stock rows": [row(face, [pair]) for face, qa in zip(faces, asked, strict=True) for pair in qa],
    }
    lengths = {
        form: [len(SharedPrefixCollator(processor).sequence(r["messages"], [0] * 576)[0]) for r in of_form]
        for form, of_form in rows.items()
    }
    for form, of_form in lengths.items():
        print(f"{form}: {sum(of_form)} tokens for {QUESTIONS * count} questions", flush=True)

    best = {}
    for form, batches in sizes.items():
        speeds = {}
        for batch in batches:
            try:
                speeds[batch] = measure(form, batch, config, processor, rows[form], rank)
            except torch.OutOfMemoryError:
                break
            print(f"{form}, batch {batch}: {speeds[batch]:.2f} questions/s", flush=True)
        best[form] = max(speeds, key=lambda batch: speeds[batch])

    with torch.device("meta"):
        parts = count_parameters(LlavaForConditionalGeneration(config).requires_grad_(False))
    ratios: dict[str, list[float]] = {"turns of a row": [], "stock rows": []}
    for _ in range(REPEATS):
        speeds = {}
        for form, batch in best.items():
            if seven_b:
                torch.cuda.reset_peak_memory_stats()
            speeds[form] = measure(form, batch, config, processor, rows[form], rank)
            if seven_b:
                a_second = speeds[form] / (QUESTIONS * count)
                work = a_second * sum(flops(n, config, parts, 0, 576, False) for n in lengths[form])
                print(
                    f"{form}: {a_second * sum(lengths[form]):,.0f} tokens/s, {work / PEAK:.1%} of {PEAK / 1e12:.0f} "
                    f"TFLOPs/s, {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most",
                    flush=True,
                )
        for form, of_form in ratios.items():
            of_form.append(speeds["shared prefix"] / speeds[form])
        print("  ".join(f"{form} (batch {best[form]}) {s:.2f} questions/s" for form, s in speeds.items()), flush=True)
    device = torch.cuda.get_device_name() if seven_b else f"CPU, {torch.get_num_threads()} threads"
    for form, of_form in ratios.items():
        mean = sum(of_form) / len(of_form)
        print(f"{device}: shared prefix is {mean:.2f} times as fast as {form} (mean of {REPEATS} pairs)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seven-b", action="store_true", help="LLaVA-1.5-7B's shape on a GPU")
    main(parser.parse_args().seven_b)
