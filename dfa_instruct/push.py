"""Pushing a dataset folder to the Hub: which of its files go, whether its pictures may, and the card that says so."""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

from dfa_instruct.dataset.card import FIGURE, SplitFiles, dataset_card
from dfa_instruct.dataset.reading import files_of
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.hub import CARD, check_repo, show
from dfa_instruct.hub import push as push_files
from dfa_instruct.inspect.statistics import count, draw
from dfa_instruct.sources.licences import licence_of, not_redistributable
from dfa_instruct.vocabulary import SPLITS

OURS: Final = re.compile(rf"data/({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}-[0-9a-f]{{16}}\.parquet|{re.escape(FIGURE)}")
"""The names that a push writes beside the card."""
OF_THE_PICTURE: Final = ("image", "landmarks")
"""The columns that do not go where the pictures do not."""


def push(
    folder: Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
    images: bool = True,
    permitted: Collection[str] = (),
) -> None:
    """Push a dataset folder, or print what a push would send.

    Args:
        folder: a dataset folder.
        repo: USER/NAME.
        private: others may not see it.
        revision: a branch; else main.
        dry_run: nothing is sent; no token and no connection is needed.
        images: the pictures go as well.
        permitted: sources whose pictures the user has the right to pass on.

    Raises:
        FileNotFoundError: there is no dataset folder.
        ValueError: the pictures of a source may not be passed on; or see `dfa_instruct.hub.push`.
        OSError: see `dfa_instruct.hub.push`.
    """
    check_repo(repo)
    parts = files_of(folder)
    statistics = count(str(folder))
    if images:
        _check_terms(statistics, permitted)
    with tempfile.TemporaryDirectory(prefix="dfa-instruct-") as scratch:
        if not images:
            parts = {split: _without_pictures(files, Path(scratch)) for split, files in parts.items()}
        named = {split: _describe(split, files) for split, files in parts.items()}
        card = dataset_card(statistics, named, repo=repo, images=images, figure=True)
        picture = io.BytesIO()
        draw(statistics).savefig(picture, format="png", dpi=110, metadata={"Software": None})
        files: dict[str, Path | bytes] = {CARD: str(card).encode(), FIGURE: picture.getvalue()}
        files |= {f"data/{path.name}": path for paths in parts.values() for path in paths}
        if dry_run:
            show(files)
        else:
            print(push_files(repo, "dataset", files, OURS, private=private, revision=revision))


def _check_terms(statistics: Statistics, permitted: Collection[str]) -> None:
    """Raise ValueError where the pictures of a source may not be passed on, as far as is known here."""
    sources = {source for _, _, source in statistics.sources}
    if unknown := sorted(set(permitted) - sources):
        raise ValueError(
            f"--may-redistribute {unknown[0]}: no row is of it; the sources are {', '.join(sorted(sources))}"
        )
    if refused := not_redistributable(sources, permitted):
        stated = " ".join(f"--may-redistribute {source}" for source in refused)
        raise ValueError(
            f"the pictures of {refused[0]} are not pushed ({licence_of(refused[0]).terms}): --without-images pushes "
            f"questions and answers with the hashes to join them; {stated} states that you have the right to pass them "
            "on"
        )


def _without_pictures(paths: list[Path], scratch: Path) -> list[Path]:
    """Write a split's files anew without the columns of the picture, named by what is in them."""
    import pyarrow.parquet as pq
    from datasets import Features

    from dfa_instruct.dataset.features import FEATURES
    from dfa_instruct.dataset.writer import ROWS_PER_GROUP

    kept = [name for name in FEATURES if name not in OF_THE_PICTURE]
    schema = Features({name: FEATURES[name] for name in kept}).arrow_schema
    content, written = hashlib.sha256(), []
    for path in paths:
        written.append(scratch / path.name)
        with pq.ParquetFile(path) as rows, pq.ParquetWriter(written[-1], schema) as writer:
            for batch in rows.iter_batches(10 * ROWS_PER_GROUP, columns=kept):
                writer.write_batch(batch.cast(schema))
        with written[-1].open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    fingerprint = content.hexdigest()[:16]
    return [path.rename(scratch / f"{path.stem.rpartition('-')[0]}-{fingerprint}.parquet") for path in written]


def _describe(split: str, paths: list[Path]) -> SplitFiles:
    """Say of a split's files what the card's header says."""
    import pyarrow.parquet as pq

    rows = size = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            rows += file.metadata.num_rows
            size += sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    fingerprint = paths[0].stem.rpartition("-")[2]
    on_disk = sum(path.stat().st_size for path in paths)
    return SplitFiles(f"data/{split}-*-{fingerprint}.parquet", rows, size, on_disk)
