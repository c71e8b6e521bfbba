"""DFA-Instruct as a dataset folder, and the builder that gives its views.

The folder `dfa-instruct/` holds `data/<split>-*.parquet` and `README.md` and is what goes to the Hub. It loads with
`load_dataset("…/dfa-instruct")` and no code of ours. Its files carry a fingerprint of what is in them in their names,
and the card names them by it: `datasets` knows a local folder by its name and its card alone, and would give the rows
of another folder, or of an earlier build, from its cache. After `import dfa_instruct`, the same folder also loads as
`load_dataset("dfa-instruct", <config>, data_dir="…/dfa-instruct")`, with these configs:

- `default`: one row a face, as it stands in the Parquet files;
- `conversations`: one row a face, `images` and `messages`: its seven questions as the turns of one conversation. In a
  shared prefix (`modeling_dfa_gpt.shared_prefix`), messages of one `branch` follow each other and do not see the other
  branches: of half of the faces every question is a branch, of the others all turns are one, to learn to talk on;
- `conversations_d`, `conversations_d_c`, `conversations_d_c_ad`: the same with the questions of DF-D; DF-D and DF-C;
  DF-D, DF-C and AD only (the ablations of the paper's Table II);
- `qa`: one row a question, likewise with `images` and `messages`, so that TRL takes it;
- `df_d`, `df_c`, `ad`, `fc`: the rows of `qa` that belong to one ability.

Without `data_dir` the folder is the one that `DFA_INSTRUCT_DIR` names, else the embedded sample, built once into the
cache of `datasets`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets import Features, Image, List, Value
from datasets.packaged_modules.parquet.parquet import Parquet, ParquetConfig
from datasets.utils.metadata import MetadataConfigs
from filelock import FileLock
from huggingface_hub import DatasetCard
from yaml import YAMLError

from dfa_instruct.card import SplitFiles, dataset_card
from dfa_instruct.instruct import is_dialogue
from dfa_instruct.orphans import end_with_this_process
from dfa_instruct.records import InstructRow
from dfa_instruct.statistics import Statistics
from dfa_instruct.vocabulary import ABILITIES, SPLITS, Ability

DATASET_NAME = "dfa-instruct"
DIRECTORY_ENV = "DFA_INSTRUCT_DIR"
BUILD_SAMPLE = """
import sys
from pathlib import Path
from dfa_instruct.pipeline import build
from dfa_instruct.recipe import sample_recipe
build(sample_recipe(Path(sys.argv[1])))
"""
ROWS_PER_GROUP = 100
BYTES_PER_FILE = 500_000_000

_MESSAGES = List({"role": Value("string"), "content": Value("string"), "branch": Value("int32")})
_QA = {"ability": Value("string"), "question": Value("string"), "answer": Value("string")}

FEATURES = Features(
    {
        "image": Image(),
        "face_id": Value("string"),
        "label": Value("string"),
        "category": Value("string"),
        "technique": Value("string"),
        "source": Value("string"),
        "pair_id": Value("string"),
        "pairing": Value("string"),
        "identities": List(Value("string")),
        "source_path": Value("string"),
        "source_sha256": Value("string"),
        "video": Value("string"),
        "frame": Value("int32"),
        "landmarks": List(List(Value("float32"))),
        "parameters": Value("string"),
        "split": Value("string"),
        "artifacts": List({"region": Value("string"), "artifact": Value("string"), "strength": Value("float32")}),
        "qa": List({**_QA, "template": Value("string")}),
        "bench": List({**_QA, "options": List(Value("string"))}),
    }
)
"""The columns of the Parquet files. `parameters` is JSON; `landmarks` has shape (81, 2), in pixels."""

CONVERSATIONS_FEATURES = Features({"images": List(Image()), "messages": _MESSAGES, "face_id": Value("string")})
CONVERSATIONS: dict[str, tuple[Ability, ...]] = {
    "conversations": ("df_d", "df_c", "ad", "fc"),
    "conversations_d": ("df_d",),
    "conversations_d_c": ("df_d", "df_c"),
    "conversations_d_c_ad": ("df_d", "df_c", "ad"),
}
"""Config → the abilities whose questions its conversations hold."""
QA_FEATURES = Features({**CONVERSATIONS_FEATURES, **_QA, "template": Value("string")})


def messages(qa: Iterable[dict[str, str]], dialogue: bool = False) -> list[dict[str, Any]]:
    """Turn questions and answers into the messages of one conversation, all of one branch where it is a `dialogue`."""
    roles = {"question": "user", "answer": "assistant"}
    return [
        {"role": role, "content": pair[key], "branch": 0 if dialogue else number}
        for number, pair in enumerate(qa)
        for key, role in roles.items()
    ]


class DfaInstruct(Parquet):
    """The builder behind `load_dataset("dfa-instruct")`: the Parquet files, seen through one of the configs."""

    BUILDER_CONFIG_CLASS = ParquetConfig
    BUILDER_CONFIGS = [  # noqa: RUF012 (the name that `datasets` looks for)
        ParquetConfig(name="default"),
        *(ParquetConfig(name=name, columns=["image", "face_id", "qa"]) for name in (*CONVERSATIONS, "qa", *ABILITIES)),
    ]
    DEFAULT_CONFIG_NAME = "default"

    def _view_features(self) -> Features | None:
        if self.config.name == "default":
            return None
        return CONVERSATIONS_FEATURES if self.config.name in CONVERSATIONS else QA_FEATURES

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=self._view_features() or super()._info().features)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        generators = super()._split_generators(dl_manager)
        self.info.features = self._view_features() or self.info.features  # Parquet narrowed it to the file's columns
        return generators

    def _cast_table(self, pa_table: pa.Table) -> pa.Table:
        if self.config.name == "default":
            return super()._cast_table(pa_table)
        rows = self._view(pa_table.to_pylist())
        return pa.Table.from_pylist(list(rows), schema=self.info.features.arrow_schema)

    def _view(self, faces: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for face in faces:
            common = {"images": [face["image"]], "face_id": face["face_id"]}
            if abilities := CONVERSATIONS.get(self.config.name):
                asked = (pair for pair in face["qa"] if pair["ability"] in abilities)
                yield {**common, "messages": messages(asked, dialogue=is_dialogue(face["face_id"]))}
            else:
                for pair in face["qa"]:
                    if self.config.name in ("qa", pair["ability"]):
                        yield {**common, "messages": messages([pair]), **pair}


class _ModuleFactory(datasets.load.PackagedDatasetModuleFactory):
    """Finds the folder when `data_dir` is not given; `datasets` itself would search the working directory.

    Of the folder, the files that its card names are read: a download may have left those of an earlier build there.
    """

    data_dir: str | None
    data_files: str | list[Any] | dict[str, Any] | None

    def get_module(self) -> Any:
        if self.name == DATASET_NAME and self.data_files is None:
            folder = Path(self.data_dir or os.environ.get(DIRECTORY_ENV) or sample_directory())
            if not any((folder / "data").glob("*.parquet")):
                raise FileNotFoundError(
                    f"{folder}: no dataset folder of dfa-instruct (expected data/<split>-*.parquet)"
                )
            self.data_dir = str(folder)
            if (readme := folder / "README.md").is_file():
                try:
                    configs = MetadataConfigs.from_dataset_card_data(DatasetCard.load(readme).data)
                except YAMLError as error:
                    raise ValueError(f"{folder}: the header of its README.md is no YAML: {error}") from error
                self.data_files = configs.get("default", {}).get("data_files")
        return super().get_module()


def register() -> None:
    """Make `load_dataset("dfa-instruct")` known to `datasets`.

    `datasets` 4 removed loading scripts; a packaged builder is what is left of them, and its registry is a dictionary.
    """
    code_hash = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    datasets.packaged_modules._PACKAGED_DATASETS_MODULES[DATASET_NAME] = (__name__, code_hash)
    datasets.load.PackagedDatasetModuleFactory = _ModuleFactory


def sample_directory() -> Path:
    """Return the dataset folder of the embedded sample, building it into the cache when it is not there.

    The cache knows it by a digest of this package's files: another version draws and asks otherwise.
    """
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.yaml")]):
        digest.update(file.read_bytes())
    cache = Path(datasets.config.HF_DATASETS_CACHE).expanduser()
    folder = cache / f"dfa-instruct-sample-{digest.hexdigest()[:16]}" / DATASET_NAME
    if not (folder / "README.md").is_file():
        print("building the drawn sample, once; it takes a minute or two", file=sys.stderr, flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        # By a process of its own: the build's workers import its main program, which need not be guarded.
        command = [sys.executable, "-c", end_with_this_process() + BUILD_SAMPLE, str(folder)]
        with FileLock(folder.parent / "lock"):  # two processes may want it at a time
            if not (folder / "README.md").is_file():
                subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=True)
    return folder


def to_columns(row: InstructRow) -> dict[str, Any]:
    """Lay a row out as the columns of `FEATURES`, the image encoded as PNG."""
    face = row.face
    return {
        "image": {"bytes": face.to_png(), "path": f"{face.face_id}.png"},
        "face_id": face.face_id,
        "label": face.label,
        "category": face.category,
        "technique": face.technique,
        "source": face.source,
        "pair_id": face.pair_id,
        "pairing": face.pairing,
        "identities": list(face.identities),
        "source_path": face.source_path,
        "source_sha256": face.source_sha256,
        "video": face.video,
        "frame": face.frame,
        "landmarks": None if face.landmarks is None else face.landmarks.round(2).tolist(),
        "parameters": json.dumps(face.parameters, sort_keys=True),
        "split": face.split,
        "artifacts": [asdict(artifact) for artifact in row.artifacts],
        "qa": [asdict(pair) for pair in row.qa],
        "bench": [asdict(question) for question in row.bench],
    }


def refuse_foreign(folder: Path) -> None:
    """Raise FileExistsError where `folder` holds anything but a dataset folder of ours."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; expected a folder that can be made")
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in ("data", "README.md")) if folder.is_dir() else []
    if foreign or (folder.is_dir() and any(folder.iterdir()) and not (folder / "data").is_dir()):
        held = ", ".join(foreign[:3]) or "README.md"
        raise FileExistsError(f"{folder} holds something else ({held}); name an empty or a new folder")


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Make a folder beside another one; it is gone afterwards, or where its process is killed, with the next one."""
    path = folder.with_name(f".{folder.name}.scratch")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def write_tables(tables: Iterable[pa.Table], folder: Path) -> Statistics:
    """Write the dataset folder from a stream of tables with the columns of `FEATURES`; return what it holds.

    Memory does not grow with the rows. The folder appears whole or not at all: it is written beside its place and
    moved there at the end; a dataset folder that stands there is replaced.

    Raises:
        FileExistsError: the folder holds something else.
    """
    refuse_foreign(folder)
    statistics = Statistics()
    with scratch_folder(folder) as scratch:
        made = scratch / DATASET_NAME
        data = made / "data"
        data.mkdir(parents=True)
        with ExitStack() as stack:
            writers = {split: stack.enter_context(_SplitFiles(data, split)) for split in SPLITS}
            for table in tables:
                for row in table.drop_columns(["image", "landmarks"]).to_pylist():
                    statistics.add(row)
                for split, writer in writers.items():
                    writer.add(table.filter(pc.field("split") == split))
        parts: dict[str, SplitFiles] = {
            split: SplitFiles(f"data/{split}-*-{of.fingerprint}.parquet", of.rows, of.bytes, of.bytes_on_disk)
            for split, of in writers.items()
            if of.rows
        }
        dataset_card(statistics, parts).save(made / "README.md")
        if folder.exists():
            folder.rename(scratch / "before")
        made.rename(folder)
    return statistics


class _SplitFiles:
    """The Parquet files of one split, each of about `BYTES_PER_FILE` at most; numbered and named when all are there.

    Counted are its rows, their bytes in memory, and at the end its files' bytes and their fingerprint.
    """

    def __init__(self, data: Path, split: str) -> None:
        self.data, self.split = data, split
        self.files: list[Path] = []
        self.writer: pq.ParquetWriter | None = None
        self.rows = self.bytes = self.bytes_in_file = self.bytes_on_disk = 0
        self.fingerprint = ""
        self.waiting = FEATURES.arrow_schema.empty_table()

    def __enter__(self) -> Self:
        return self

    def add(self, table: pa.Table) -> None:
        """Take rows; whole groups of `ROWS_PER_GROUP` are written."""
        self.waiting = pa.concat_tables([self.waiting, table])
        while len(self.waiting) >= ROWS_PER_GROUP:
            self._write(self.waiting.slice(0, ROWS_PER_GROUP))
            self.waiting = self.waiting.slice(ROWS_PER_GROUP)

    def _write(self, group: pa.Table) -> None:
        group = group.combine_chunks()
        if self.writer is None or self.bytes_in_file + group.nbytes > BYTES_PER_FILE:
            self._close()
            self.files.append(self.data / f"{self.split}-{len(self.files):05d}")
            self.writer = pq.ParquetWriter(self.files[-1], FEATURES.arrow_schema, use_content_defined_chunking=True)
            self.bytes_in_file = 0
        self.writer.write_table(group)
        self.rows += len(group)
        self.bytes += group.nbytes
        self.bytes_in_file += group.nbytes

    def _close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and len(self.waiting):
            self._write(self.waiting)
        self._close()
        content = hashlib.sha256()
        for path in self.files:
            with path.open("rb") as file:
                content.update(hashlib.file_digest(file, "sha256").digest())
            self.bytes_on_disk += path.stat().st_size
        self.fingerprint = content.hexdigest()[:16]
        for path in self.files:
            path.rename(path.with_name(f"{path.name}-of-{len(self.files):05d}-{self.fingerprint}.parquet"))
