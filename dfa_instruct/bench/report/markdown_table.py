"""Writing a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Cell = str | float | None


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], align: str = "---:") -> str:
    """Write a table in Markdown.

    Args:
        headings: The column headings.
        rows: The cells of each row. Numbers are written with two decimals, None as an empty cell.
        align: The alignment of all columns but the first one, as Markdown writes it; by default to the right.
    """
    lines = [headings, ["---", *[align] * (len(headings) - 1)], *([_written(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _written(cell: Cell) -> str:
    return cell if isinstance(cell, str) else "" if cell is None else f"{cell:.2f}"
