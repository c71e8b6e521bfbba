"""Requests a second, and memory, of asking a language model: a server that answers after 200 ms, 64 requests at a time.

    python tests/benchmarks/annotate.py

Each request carries a picture of 256 pixels, and each answer is read, checked and written to the store. At best 320 a
second come back. The server is a process of its own; where both share one processor, it takes its part of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from tqdm import tqdm

from dfa_instruct.annotate.asking import Asking
from dfa_instruct.annotate.prices import Budget, Estimate, Price
from dfa_instruct.annotate.prompts import description_request
from dfa_instruct.annotate.store import Request, Store
from dfa_instruct.sources.portraits.drawing import draw_sample
from dfa_instruct.vlm.client import Server

REQUESTS = 20_000
CONCURRENCY = 64
DELAY = 0.2
AIM = 0.85
GROWTH = 30
"""Megabytes by which memory may grow between a quarter of the requests and their end."""
CLAIM = {"region": "mouth", "artifact": "colour", "sentence": "The lips have a colour that does not fit this face."}


async def serve() -> None:
    """Answer every request after `DELAY`; as little else as can be."""
    text = json.dumps({"artifacts": [CLAIM]})
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 900, "completion_tokens": 50, "total_tokens": 950}
    body = json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                headers = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                await asyncio.sleep(DELAY)
                writer.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Ask, and print how fast it went and what memory it took."""
    picture = next(draw_sample(identities=1, pictures=1, size=256, seed=0)).to_png()
    process = psutil.Process()
    memory: dict[int, float] = {}

    def requests() -> Iterator[Request]:
        for number in range(REQUESTS):
            if number in (REQUESTS // 4, REQUESTS - 1):
                memory[number] = process.memory_info().rss / 2**20
            yield description_request(f"{number:016x}", "face_swapping", None, None, "tiny")

    command = [sys.executable, __file__, "serve"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving,
        Store(Path(folder) / "annotations.sqlite") as store,
        tqdm(total=REQUESTS, unit="request") as bar,
    ):
        try:
            assert serving.stdout is not None
            os.environ["OPENAI_API_KEY"] = "none"
            server = Server("tiny", f"http://127.0.0.1:{serving.stdout.readline().strip()}/v1", 30.0)
            estimate = Estimate(store, "tiny")
            price = Price(1.0, 1.0, "today")
            asking = Asking(store, server, lambda _: [picture], price, estimate, Budget(None), bar)
            first = next(requests())
            store.keep_prompt(first.prompt, "the benchmark's")
            before, begun = process.cpu_times(), time.perf_counter()
            asyncio.run(asking.ask(requests(), CONCURRENCY))
            taken = time.perf_counter() - begun
            after = process.cpu_times()
            answered = store.count_outcomes("ad", "tiny")["annotated"][""]
            of_server = sum(psutil.Process(serving.pid).cpu_times()[:2])
        finally:
            serving.kill()
    rate, ideal = answered / taken, CONCURRENCY / DELAY
    own = after.user + after.system - before.user - before.system
    low, high = memory.values()
    print(
        f"{answered} of {REQUESTS} answered, {rate:.0f} a second of {ideal:.0f} at best ({rate / ideal:.2f}); "
        f"{1000 * own / answered:.2f} ms of processor time a request, "
        f"the server's {1000 * of_server / answered:.2f} ms; "
        f"memory {low:.0f} MiB after a quarter, {high:.0f} MiB at the end, "
        f"{len(os.sched_getaffinity(0))} processors, pictures of {len(picture) / 1024:.0f} KiB"
    )
    if answered < REQUESTS or high - low > GROWTH or rate < AIM * ideal:
        raise SystemExit(f"expected all to be answered, {AIM} of the ideal, and memory to stay within {GROWTH} MiB")


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        main()
