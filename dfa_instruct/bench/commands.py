"""The commands of DFA-Bench beside `bench` itself."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from dfa_instruct.errors import one_line_errors


def table(
    number: Annotated[int, typer.Argument(min=1, max=3, help="Which of the paper's tables.")],
    results: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[[ROW=]RESULTS]...",
            help="What `--output` of a bench wrote; ROW, where it is not its model's: 'D+C=runs/dc'. Several of one "
            "row: the worst stands in it.",
        ),
    ] = None,
    form: Annotated[Literal["markdown", "latex"], typer.Option("--format", help="Of what is printed.")] = "markdown",
) -> None:
    """Print one of the paper's tables with our figures beside the paper's; what was not run is said."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.bench.tables import latex, markdown, paper_table, read_result

        made = paper_table(number, [read_result(given) for given in results or []])
        print(markdown(made) if form == "markdown" else latex(made))
