"""Count a dataset, print the counts as a table, and draw them like the paper's Fig. 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dfa_instruct.dataset.features import MAY_BE_NULL
from dfa_instruct.dataset.reading import open_splits, rows_of
from dfa_instruct.dataset.statistics import COLUMNS, Statistics
from dfa_instruct.vocabulary import ABILITIES, ARTIFACTS, CATEGORIES, REGIONS, SPLITS, Category

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table

COLOURS: Final[dict[Category, str]] = {
    "bona_fide": "#5b8c5a",
    "face_swapping": "#c8553d",
    "face_reenactment": "#e09f3e",
    "face_editing": "#5f7fbf",
    "entire_face_synthesis": "#84629b",
}
REGION_COLOUR: Final = "#b5402a"
KIND_COLOUR: Final = "#2a5f9e"
OTHER_COLOUR: Final = "#8d8d8d"

_REGION_WORDS: Final = frozenset(" ".join(REGIONS.values()).lower().split()) - {"and"}
_KIND_WORDS: Final = frozenset(
    {*ARTIFACTS, "shape", "detail", "edge", "seam", "blending", "smooth", "rough", "blurred", "distorted"}
)


def count(where: str) -> Statistics:
    """Count the rows of a dataset folder or a repository on the Hub. No image is read.

    Raises:
        FileNotFoundError: See `dfa_instruct.dataset.reading.open_splits`.
        ValueError: See there; or a value is null that must not be.
    """
    statistics = Statistics()
    for name, rows in open_splits(where, COLUMNS).items():
        for row in rows_of(where, name, rows, "count"):
            if null := [column for column in COLUMNS if row[column] is None and column not in MAY_BE_NULL]:
                raise ValueError(f"{where}: in a row of {name}, {null[0]} is null; `dfa-instruct verify` names the row")
            statistics.add(row)
    return statistics


def table(statistics: Statistics) -> Table:
    """Return a table of the images by category, technique and split, and of the questions by ability."""
    from rich.table import Table

    laid = Table(title="DFA-Instruct", show_footer=True)
    total = statistics.images_of()
    laid.add_column("", footer=f"{len(set().union(*statistics.identities.values()))} identities")
    for split in SPLITS:
        laid.add_column(split, justify="right", footer=str(len(statistics.identities.get(split, ()))))
    laid.add_column("images", justify="right")
    laid.add_column("share", justify="right")

    def add(name: str, counts: list[int], of: int, **style: Any) -> None:
        laid.add_row(name, *([str(n) for n in counts] or [""] * len(SPLITS)), str(of), f"{of / total:.1%}", **style)

    for category, name in CATEGORIES.items():
        of_category = statistics.images_of(category=category)
        add(name, [statistics.images_of(split, category) for split in SPLITS], of_category, style="bold")
        for (own, technique), n in sorted(statistics.techniques.items()):
            if own == category:
                add(f"  {technique}", [], n)
    laid.add_section()
    add("all", [statistics.images_of(split) for split in SPLITS], total, style="bold", end_section=True)
    for ability, name in ABILITIES.items():
        n = statistics.questions[ability]
        share = f"{n / statistics.questions.total():.1%}" if n else ""
        laid.add_row(f"questions: {name}", *[""] * len(SPLITS), str(n), share)
    return laid


def draw(statistics: Statistics) -> Figure:
    """Draw Fig. 3 of the paper: (a) words, (b) questions by ability, (c) images by split, (d) images by technique.

    Raises:
        ValueError: There are no rows.
    """
    from matplotlib.figure import Figure

    if not statistics.images_of():
        raise ValueError("the dataset has no rows; there is nothing to draw")
    bars = len(statistics.techniques) + len(CATEGORIES) + 1
    figure = Figure(figsize=(13, max(7.5, 0.27 * bars + 1)), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.25, 1)).flat
    upper, lower = left.subfigures(2, 1, squeeze=False, height_ratios=(1.5, 1)).flat
    _draw_words(statistics, upper.subplots())
    questions, splits = lower.subplots(1, 2)
    _draw_questions(statistics, questions)
    _draw_splits(statistics, splits)
    _draw_techniques(statistics, right.subplots())
    return figure


def _draw_words(statistics: Statistics, axes: Axes) -> None:
    from matplotlib import font_manager
    from matplotlib.patches import Patch
    from wordcloud import STOPWORDS, WordCloud

    def colour(word: str, **_: Any) -> str:
        return REGION_COLOUR if word in _REGION_WORDS else KIND_COLOUR if word in _KIND_WORDS else OTHER_COLOUR

    left_out = STOPWORDS | {"face", "yes"}  # every row has these words
    counts = {word: n for word, n in statistics.words.most_common(400) if word not in left_out}
    axes.axis("off")
    axes.set_title("(a) words of the questions and answers")
    if not counts:
        return
    cloud = WordCloud(
        width=1500,
        height=820,
        font_path=font_manager.findfont("DejaVu Sans:bold"),
        background_color="white",
        max_words=110,
        relative_scaling=0.25,
        prefer_horizontal=1.0,
        color_func=colour,
        random_state=0,
    ).generate_from_frequencies(counts)
    axes.imshow(cloud.to_array(), interpolation="bilinear")
    meaning = {"regions of the face": REGION_COLOUR, "what is looked at": KIND_COLOUR}
    handles = [Patch(color=colour, label=label) for label, colour in meaning.items()]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2, frameon=False)


def _bars(axes: Axes, names: list[str], counts: list[int], colours: list[str], whole: int) -> None:
    """Draw horizontal bars from the top, with the count and the share of `whole` at the end of each."""
    drawn = axes.barh(range(len(names)), counts, color=colours, height=0.72)
    labels = [f" {n:,}  ({n / whole:.0%})" for n in counts]
    axes.bar_label(drawn, labels, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(counts))
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_questions(statistics: Statistics, axes: Axes) -> None:
    counts = [statistics.questions[ability] for ability in ABILITIES]
    names = [name.replace(" ", "\n") for name in ABILITIES.values()]
    _bars(axes, names, counts, [KIND_COLOUR] * len(names), max(sum(counts), 1))
    axes.set_title(f"(b) {sum(counts):,} questions by ability")


def _draw_splits(statistics: Statistics, axes: Axes) -> None:
    below = np.zeros(len(SPLITS))
    for category, name in CATEGORIES.items():
        counts = [statistics.images[split, category] for split in SPLITS]
        axes.bar(SPLITS, counts, bottom=below, color=COLOURS[category], label=name, width=0.7)
        below += counts
    total = statistics.images_of()
    for place, split in enumerate(SPLITS):
        n = statistics.images_of(split)
        label = f"{n:,}\n({n / total:.0%})"
        axes.annotate(label, (place, n), (0, 2), textcoords="offset points", ha="center", fontsize=8)
    axes.set_ylim(0, 1.2 * below.max())
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(f"(c) {total:,} images by split")
    axes.legend(fontsize=8, frameon=False)


def _draw_techniques(statistics: Statistics, axes: Axes) -> None:
    names, counts, colours = [], [], []
    for category, name in CATEGORIES.items():
        names.append(name)
        counts.append(statistics.images_of(category=category))
        colours.append(COLOURS[category])
        for (own, technique), n in sorted(statistics.techniques.items(), key=lambda item: (-item[1], item[0])):
            if own == category:
                names.append(technique)
                counts.append(n)
                colours.append(f"{COLOURS[category]}80")
    _bars(axes, names, counts, colours, statistics.images_of())
    for label in axes.get_yticklabels():
        label.set_fontsize(9 if len(names) < 30 else 8)
        if label.get_text() in CATEGORIES.values():
            label.set_fontweight("bold")
    axes.set_title("(d) images by category and technique")
