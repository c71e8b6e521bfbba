"""Make the dataset card: the contents of a dataset folder, their terms, how they were made, and known errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from dfa_instruct.sources.licences import licence_of, not_redistributable
from dfa_instruct.vocabulary import ABILITIES, CATEGORIES, SPLITS

if TYPE_CHECKING:
    from huggingface_hub import DatasetCard, DatasetCardData

    from dfa_instruct.dataset.statistics import Statistics

SIZES: Final[dict[str, int]] = {"n<1K": 10**3, "1K<n<10K": 10**4, "10K<n<100K": 10**5, "100K<n<1M": 10**6}
"""The Hub's size category → the number of rows that it is below. The next category is `1M<n<10M`."""
FIGURE: Final = "statistics.png"


@dataclass(frozen=True)
class SplitFiles:
    """The Parquet files of a split: the pattern of their names, their rows, and their bytes in memory and on disk."""

    path: str
    rows: int
    bytes: int
    bytes_on_disk: int


def dataset_card(
    statistics: Statistics,
    splits: Mapping[str, SplitFiles],
    *,
    conversations: Mapping[str, SplitFiles] | None = None,
    repo: str | None = None,
    images: bool = True,
    figure: bool = False,
) -> DatasetCard:
    """Make the card of a dataset folder or repository.

    Args:
        statistics: The counts of all rows.
        splits: The files of each split.
        conversations: The files of the config `conversations`, if there are any.
        repo: The Hub repository that the card is for. Default: a local folder.
        images: Whether the rows contain the pictures.
        figure: Whether the picture `FIGURE` is beside the card.
    """
    from huggingface_hub import DatasetCard
    from jinja2 import Environment, StrictUndefined

    sources = {source for _, _, source in statistics.sources}
    free = not not_redistributable(sources)
    configs = {"default": splits, **({"conversations": conversations} if conversations else {})}
    data = _header(statistics, configs, free, repo)
    template = files("dfa_instruct.dataset_card").joinpath("dataset_card.md.jinja").read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    body = environment.from_string(template).render(
        statistics=statistics,
        splits=SPLITS,
        categories=CATEGORIES,
        abilities=ABILITIES,
        licences={source: licence_of(source) for source in sorted(sources)},
        free=free,
        repo=repo,
        images=images,
        conversations=bool(conversations),
        figure=FIGURE if figure else None,
    )
    return DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{body}")


def _header(
    statistics: Statistics, configs: Mapping[str, Mapping[str, SplitFiles]], free: bool, repo: str | None
) -> DatasetCardData:
    """Make the YAML header of the card. `free` means that no source has terms of its own."""
    from huggingface_hub import DatasetCardData

    rows = statistics.images_of()
    about = [
        {
            "config_name": config,
            "splits": [
                {"name": split, "num_bytes": files.bytes, "num_examples": files.rows} for split, files in splits.items()
            ],
            "download_size": sum(files.bytes_on_disk for files in splits.values()),
            "dataset_size": sum(files.bytes for files in splits.values()),
        }
        for config, splits in configs.items()
    ]
    data = DatasetCardData(
        pretty_name="DFA-Instruct",
        license="apache-2.0" if free else "other",
        language=["en"],
        task_categories=["visual-question-answering", "image-classification"],
        size_categories=[next((size for size, below in SIZES.items() if rows < below), "1M<n<10M")],
        annotations_creators=["machine-generated"],
        tags=["deepfake-detection", "face-forgery", "instruction-tuning"],
        configs=[
            {
                "config_name": config,
                "data_files": [{"split": split, "path": files.path} for split, files in splits.items()],
            }
            for config, splits in configs.items()
        ],
        dataset_info=about if len(about) > 1 else about[0],
    )
    if not free:
        data["license_name"] = "terms-of-its-sources"
        if repo:
            data["license_link"] = f"https://huggingface.co/datasets/{repo}#sources-and-licences"
    return data
