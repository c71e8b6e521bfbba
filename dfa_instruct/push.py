"""Pushing a dataset folder to the Hub: which of its files go, whether its pictures may, and the card that says so.

Beside the rows go the conversations, as files of their own: on the Hub `load_dataset` runs no code of ours that could
make them. Their pictures are the same bytes a second time, most of which Xet neither sends nor stores again.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dfa_instruct.dataset.card import FIGURE, SplitFiles, dataset_card
from dfa_instruct.dataset.reading import files_of, tables_of
from dfa_instruct.dataset.statistics import Statistics
from dfa_instruct.hub import CARD, check_repo, check_token, show
from dfa_instruct.hub import push as push_files
from dfa_instruct.sources.licences import licence_of, not_redistributable
from dfa_instruct.verify.dataset_plots import count, draw
from dfa_instruct.vocabulary import SPLITS

if TYPE_CHECKING:
    from datasets import Features

    from dfa_instruct.dataset.writer import SplitWriter

OURS: Final = re.compile(
    rf"(data|conversations)/({'|'.join(SPLITS)})-\d{{5}}-of-\d{{5}}-[0-9a-f]{{16}}\.parquet|{re.escape(FIGURE)}"
)
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
    from datasets import Features

    from dfa_instruct.dataset.builder import conversation
    from dfa_instruct.dataset.features import CONVERSATIONS_FEATURES, FEATURES

    check_repo(repo)
    parts = files_of(folder)
    if not dry_run:
        check_token(repo)
    statistics = count(str(folder))
    if images:
        _check_terms(statistics, permitted)
    with tempfile.TemporaryDirectory(prefix="dfa-instruct-") as scratch:
        conversations = {}
        if images:
            named = {split: _describe(split, files) for split, files in parts.items()}
            where, view = Path(scratch, "conversations"), partial(conversation, config="conversations")
            conversations = {
                split: _rewritten(files, split, where, CONVERSATIONS_FEATURES, ["image", "face_id", "qa"], view)
                for split, files in parts.items()
            }
        else:
            kept = Features({name: FEATURES[name] for name in FEATURES if name not in OF_THE_PICTURE})
            written = {
                split: _rewritten(files, split, Path(scratch, "data"), kept, list(kept), dict)
                for split, files in parts.items()
            }
            parts = {split: writer.files for split, writer in written.items()}
            named = {split: writer.split_files() for split, writer in written.items()}
        card = dataset_card(
            statistics,
            named,
            conversations={split: writer.split_files() for split, writer in conversations.items()},
            repo=repo,
            images=images,
            figure=True,
        )
        picture = io.BytesIO()
        draw(statistics).savefig(picture, format="png", dpi=110, metadata={"Software": None})
        files: dict[str, Path | bytes] = {CARD: str(card).encode(), FIGURE: picture.getvalue()}
        files |= {f"data/{path.name}": path for paths in parts.values() for path in paths}
        repeating = {f"conversations/{path.name}": path for of in conversations.values() for path in of.files}
        files |= repeating
        if dry_run:
            show(files)
        else:
            print(push_files(repo, "dataset", files, OURS, repeating=repeating, private=private, revision=revision))


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


def _rewritten(
    paths: Iterable[Path], split: str, folder: Path, features: Features, columns: list[str], view: Callable[[Any], Any]
) -> SplitWriter:
    """Write a split's files anew, each row as `view` makes it from some of its columns.

    Args:
        paths: the split's Parquet files.
        split: its name.
        folder: where the new ones go.
        features: of the new rows.
        columns: of the old rows, those that `view` reads.
        view: an old row → a new one.
    """
    import pyarrow as pa

    from dfa_instruct.dataset.writer import SplitWriter

    folder.mkdir(exist_ok=True)
    with SplitWriter(folder, split, features) as writer:
        for table in tables_of(paths, columns):
            made = [view(row) for row in table.to_pylist()]
            writer.add(pa.Table.from_pylist(made, schema=features.arrow_schema))
    return writer


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
