"""The builder behind `load_dataset("dfa-instruct")`, which gives one of several views of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features
from datasets.builder import Key
from datasets.packaged_modules.parquet.parquet import Parquet, ParquetConfig

from dfa_instruct.dataset.features import CONVERSATIONS, CONVERSATIONS_FEATURES, QA_FEATURES
from dfa_instruct.instruct.sampling import is_dialogue
from dfa_instruct.vocabulary import ABILITIES


def messages(qa: Iterable[dict[str, str]], dialogue: bool = False) -> list[dict[str, Any]]:
    """Turn questions and answers into messages. In a `dialogue` they have one branch, else one for each question."""
    roles = {"question": "user", "answer": "assistant"}
    return [
        {"role": role, "content": pair[key], "branch": 0 if dialogue else number}
        for number, pair in enumerate(qa)
        for key, role in roles.items()
    ]


def conversation(face: dict[str, Any], config: str) -> dict[str, Any]:
    """Turn a row into a row of `CONVERSATIONS_FEATURES`, with the questions and answers of a config."""
    qa = (pair for pair in face["qa"] if pair["ability"] in CONVERSATIONS[config])
    turns = messages(qa, dialogue=is_dialogue(face["face_id"]))
    return {"images": [face["image"]], "face_id": face["face_id"], "messages": turns}


class DfaInstruct(Parquet):
    """Read the Parquet files of a dataset folder as the rows of a config, such as `default` or `conversations`."""

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
        self.info.features = self._view_features() or self.info.features  # the base class set the columns of the files
        return generators

    def _generate_tables(self, files: Iterable[Any], row_groups_list: Iterable[Any]) -> Iterator[tuple[Key, pa.Table]]:
        """Read one row group after the other in this thread.

        `datasets` uses Arrow's scanner, which reads ahead in other threads. If a script leaves a stream before its end,
        these threads and the interpreter wait for each other, and the script never ends.
        """
        filters = self.config.filters
        kept = pq.filters_to_expression(filters) if isinstance(filters, list) else filters
        for number, (file, groups) in enumerate(zip(files, row_groups_list, strict=True)):
            with open(file, "rb") as opened, pq.ParquetFile(opened) as parquet:  # noqa: PTH123 (may be a URL)
                for group in range(parquet.num_row_groups) if groups is None else groups:
                    table = parquet.read_row_group(group, columns=self.config.columns, use_threads=False)
                    yield Key(number, group), self._cast_table(table if kept is None else table.filter(kept))

    def _cast_table(self, pa_table: pa.Table) -> pa.Table:
        if self.config.name == "default":
            return super()._cast_table(pa_table)
        rows = self._view(pa_table.to_pylist())
        return pa.Table.from_pylist(list(rows), schema=self.info.features.arrow_schema)

    def _view(self, faces: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        for face in faces:
            if self.config.name in CONVERSATIONS:
                yield conversation(face, self.config.name)
                continue
            for pair in face["qa"]:
                if self.config.name in ("qa", pair["ability"]):
                    images = [face["image"]]
                    yield {"images": images, "face_id": face["face_id"], "messages": messages([pair]), **pair}
