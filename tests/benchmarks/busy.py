"""A training step beside one busy process: with torch's own number of threads, against one thread on the free core.

    python tests/benchmarks/busy.py

The steps are of the tiny base, a batch of its recipe, in pairs: one step of each kind in turn. On more than two cores
there is more than one free core, and the aim is easily reached.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from dfa_instruct.sources.portraits.drawing import draw_sample
from modeling_dfa_gpt.bases import TINY_BASE
from modeling_dfa_gpt.shared_prefix import SharedPrefixCollator

PAIRS = 10
ROWS = 4
QUESTIONS = 7
AIM = 0.7


def main() -> None:
    """Measure, and print the median ratio of the pairs."""
    import torch  # after the packages above, which say how its threads wait
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(TINY_BASE, dtype=torch.float32)
    turn = [
        {"role": "user", "content": "What gives it away?"},
        {"role": "assistant", "content": "The eyes are blurred."},
    ]
    rows = [{"images": [Image.fromarray(face.image)], "messages": turn * QUESTIONS} for face in draw_sample(ROWS, 1)]
    batch = SharedPrefixCollator(AutoProcessor.from_pretrained(TINY_BASE))(rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    threads = torch.get_num_threads()

    def step(count: int) -> float:
        torch.set_num_threads(count)
        start = time.perf_counter()
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start

    for count in (1, threads):
        step(count)
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        pairs = [(step(threads), step(1)) for _ in range(PAIRS)]
    finally:
        busy.kill()
        busy.wait()
    default, one = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    ratio = statistics.median(alone / seconds for seconds, alone in pairs)
    print(
        f"a training step beside one busy process: {default:.2f} s with {threads} threads, {one:.2f} s with one; "
        f"{ratio:.2f} of what the free core gives (median of {PAIRS} pairs)"
    )
    if ratio < AIM:
        raise SystemExit(f"expected at least {AIM}")


if __name__ == "__main__":
    main()
