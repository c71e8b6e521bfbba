"""Seconds a turn: a conversation that keeps what it has read against one that reads everything anew, in one run.

    python tests/benchmarks/conversation.py

A LLaVA of random weights, 576 image tokens, 8 layers of width 512. What stands before the answer is read once only;
the tokens of the answer cost both the same, so the longer it is, the smaller the ratio: the first token alone, a
verdict, a sentence. Both give the same answers, or the benchmark fails.
"""

from __future__ import annotations

import statistics
import time

import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from dfa_instruct.instruct.templates import libraries
from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt import conversation
from modeling_dfa_gpt.bases.processor import make_processor, train_tokenizer
from modeling_dfa_gpt.conversation import Conversation
from modeling_dfa_gpt.dfa_gpt import DfaGpt

ANSWERS = ("No", "No, this face is bona fide.", "Yes. The colour of the mouth does not match the rest of the face.")
PAIRS = 7
QUESTIONS = ("Has this face been forged?", "What gives it away?", "And the eyes?")


def main() -> None:
    """Hold conversations in both ways, in turn, and print what each turn took."""
    library = libraries()
    texts = [
        q for part in (library.df_d, library.df_c, library.ad, library.fc) for t in part.questions for q in t.questions
    ]
    processor = make_processor(train_tokenizer(texts, 1000), 384, 16)
    torch.manual_seed(0)
    small = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
    large = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=384, patch_size=16, **small),
        text_config=LlamaConfig(vocab_size=len(processor.tokenizer), num_key_value_heads=8, **large),
        image_token_index=processor.image_token_id,
        image_seq_length=576,
        vision_feature_layer=-1,
    )
    model = DfaGpt(LlavaForConditionalGeneration(config), processor)
    model.model.generation_config.eos_token_id = None
    face = Image.fromarray(next(draw_sample(1, 1)).image)
    for answer in ANSWERS:
        conversation.MAX_NEW_TOKENS = len(processor.tokenizer(answer)["input_ids"])
        print(f"answers of {conversation.MAX_NEW_TOKENS} tokens, as {answer!r}:")
        compare(model, face)


def compare(model: DfaGpt, face: Image.Image) -> None:
    """Hold conversations in both ways, in turn, and print what each turn took."""
    seconds: dict[bool, list[list[float]]] = {True: [], False: []}
    for pair in range(PAIRS + 1):
        said = {}
        for keep in (True, False):
            talk = Conversation(model, face, keep)
            taken = []
            for question in QUESTIONS:
                start = time.perf_counter()
                talk.ask(question)
                taken.append(time.perf_counter() - start)
            said[keep] = [message["content"] for message in talk.messages]
            if pair:  # the first warms up
                seconds[keep].append(taken)
        if said[True] != said[False]:
            raise SystemExit("the answers differ")
    for turn in range(len(QUESTIONS)):
        kept, anew = ([taken[turn] for taken in seconds[keep]] for keep in (True, False))
        ratio = statistics.median(b / a for a, b in zip(kept, anew, strict=True))
        print(
            f"turn {turn + 1}: {statistics.median(kept):.3f} s kept, {statistics.median(anew):.3f} s anew, "
            f"{ratio:.2f} times as fast (median of {PAIRS} pairs, {torch.get_num_threads()} threads)"
        )


if __name__ == "__main__":
    main()
