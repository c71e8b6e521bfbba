"""Push a dataset folder to the Hub, with a card that states which files it has and which terms its pictures have.

The conversations are pushed as files of their own, because `load_dataset` runs no code from the Hub that could create
them. They contain the same pictures a second time, which Xet mostly neither sends nor stores again.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dfa_instruct.dataset.card import FIGURE, SplitFiles, dataset_card
from dfa_instruct.dataset.reading import files_of, tables_of
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.hub import CARD, check_repo, check_token, show
from dfa_instruct.hub import push as push_files
from dfa_instruct.records import HUMAN
from dfa_instruct.sources.licences import licence_of, not_redistributable
from dfa_instruct.verify.dataset_plots import count, draw
from dfa_instruct.vocabulary import SPLITS

if TYPE_CHECKING:
    from datasets import Features

    from dfa_instruct.dataset.writer import SplitWriter

REPLACEABLE: Final = re.compile(
    rf"(data|conversations)/({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}-[0-9a-f]{{16}}\.parquet|{re.escape(FIGURE)}"
)
"""The paths that a push writes, apart from the card."""
DESCRIPTIONS: Final = "descriptions"
"""The name by which a user states the right to redistribute what people have written."""
IMAGE_COLUMNS: Final = ("image", "landmarks")
"""The columns that are left out if the pictures are not pushed."""


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
        folder: A dataset folder.
        repo: USER/NAME.
        private: Hide the repository from others.
        revision: A branch; None is the main branch.
        dry_run: Send nothing, which needs no token and no connection.
        images: Push the pictures as well.
        permitted: Sources whose pictures the user has the right to redistribute, and `DESCRIPTIONS` for the words of
            people.

    Raises:
        FileNotFoundError: There is no dataset folder.
        ValueError: The pictures of a source, or people's words, may not be redistributed; or see
            `dfa_instruct.hub.push`.
        OSError: See `dfa_instruct.hub.push`.
    """
    from datasets import Features

    from dfa_instruct.dataset.builder import conversation
    from dfa_instruct.dataset.features import CONVERSATIONS_FEATURES, FEATURES

    check_repo(repo)
    parts = files_of(folder)
    if not dry_run:
        check_token(repo)
    statistics = count(str(folder))
    _check_terms(statistics, permitted, images)
    with tempfile.TemporaryDirectory(prefix="dfa-instruct-") as scratch:
        conversations: dict[str, SplitWriter] = {}
        if images:
            described = {split: _describe(split, paths) for split, paths in parts.items()}
            view = partial(conversation, config="conversations")
            target = Path(scratch, "conversations")
            conversations = _rewrite(parts, target, CONVERSATIONS_FEATURES, ["image", "face_id", "qa"], view)
        else:
            features = Features({name: FEATURES[name] for name in FEATURES if name not in IMAGE_COLUMNS})
            written = _rewrite(parts, Path(scratch, "data"), features, list(features), dict)
            parts = {split: writer.files for split, writer in written.items()}
            described = {split: writer.split_files() for split, writer in written.items()}
        card = dataset_card(
            statistics,
            described,
            conversations={split: writer.split_files() for split, writer in conversations.items()},
            repo=repo,
            images=images,
            figure=True,
        )
        figure = io.BytesIO()
        draw(statistics).savefig(figure, format="png", dpi=110, metadata={"Software": None})
        files: dict[str, Path | bytes] = {CARD: str(card).encode(), FIGURE: figure.getvalue()}
        files |= {f"data/{path.name}": path for paths in parts.values() for path in paths}
        last = {f"conversations/{path.name}": path for writer in conversations.values() for path in writer.files}
        files |= last
        if dry_run:
            show(files)
        else:
            print(push_files(repo, "dataset", files, REPLACEABLE, upload_last=last, private=private, revision=revision))


def _check_terms(statistics: Statistics, permitted: Collection[str], images: bool) -> None:
    """Raise ValueError if people's descriptions, or the pictures of a source, may not be redistributed."""
    sources = {source for _, _, source in statistics.sources} if images else set()
    words = {DESCRIPTIONS} if statistics.writers["ad", HUMAN] else set()
    if words - set(permitted):
        raise ValueError(
            "the dataset contains what people have written about the faces, which has terms of its own; "
            f"--may-redistribute {DESCRIPTIONS} states that you have the right to redistribute it"
        )
    if images and (unknown := sorted(set(permitted) - sources - words)):
        raise ValueError(
            f"--may-redistribute {unknown[0]}: no row has this source; the sources are {', '.join(sorted(sources))}"
        )
    if refused := not_redistributable(sources, permitted):
        options = " ".join(f"--may-redistribute {source}" for source in refused)
        raise ValueError(
            f"the pictures of {refused[0]} are not pushed ({licence_of(refused[0]).terms}): --without-images pushes "
            "the questions and answers with the hashes of the pictures; "
            f"{options} states that you have the right to redistribute the pictures"
        )


def _rewrite(
    parts: Mapping[str, Iterable[Path]],
    folder: Path,
    features: Features,
    columns: list[str],
    view: Callable[[Any], Any],
) -> dict[str, SplitWriter]:
    """Write new Parquet files with rows that `view` converts from some columns of the files in `parts`."""
    import pyarrow as pa

    from dfa_instruct.dataset.writer import SplitWriter

    folder.mkdir()
    writers: dict[str, SplitWriter] = {}
    for split, paths in parts.items():
        with SplitWriter(folder, split, features) as writers[split]:
            for table in tables_of(paths, columns):
                converted = [view(row) for row in table.to_pylist()]
                writers[split].add(pa.Table.from_pylist(converted, schema=features.arrow_schema))
    return writers


def _describe(split: str, paths: list[Path]) -> SplitFiles:
    """Return the description of a split's files for the header of the card."""
    import pyarrow.parquet as pq

    rows = size = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            rows += file.metadata.num_rows
            size += sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups))
    fingerprint = paths[0].stem.rpartition("-")[2]
    on_disk = sum(path.stat().st_size for path in paths)
    return SplitFiles(f"data/{split}-*-{fingerprint}.parquet", rows, size, on_disk)
