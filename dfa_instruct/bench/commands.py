"""The commands of DFA-Bench beside `bench` itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dfa_instruct.errors import one_line_errors


def probe(
    model: Annotated[str, typer.Argument(help="A vision model: a folder, a Hub id, or the name of a plug-in's.")],
    data: Annotated[
        Path | None, typer.Option(help="The dataset folder; else DFA_INSTRUCT_DIR, else the embedded sample.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write report.md, results.json and predictions.parquet here.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="Side of the pictures in pixels; else as the model's folder says.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the layers' weights and the order of the faces.")] = 0,
) -> None:
    """Measure a vision-only model as Table I does: frozen, a linear layer for DF-D and one for DF-C, one epoch each."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.probe import run_probe
        from dfa_instruct.bench.report import metrics_table, write_report
        from dfa_instruct.bench.runner import write_results

        results = run_probe(model, data, image_size=image_size, seed=seed)
        if output is not None:
            write_results(results, output)
            write_report(results, data, output)
        Console().print(Markdown(metrics_table(results)))


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


def compare(
    a: Annotated[Path, typer.Argument(help="What `--output` of a bench or a probe wrote.")],
    b: Annotated[Path, typer.Argument(help="The same of another model, asked about the same faces.")],
    data: Annotated[
        Path | None, typer.Option(help="The dataset folder; else DFA_INSTRUCT_DIR, else the embedded sample.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="The PNG; else <A>-<B>.png, here.")] = None,
) -> None:
    """Hold two models against each other on the same faces, and draw those of which one alone is right."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.compare import comparison_table, differences, paired, parted, sheet
        from dfa_instruct.bench.plots import DOTS_PER_INCH
        from dfa_instruct.bench.predictions import read_predictions
        from dfa_instruct.bench.rows import pictures_of

        pairs = paired(read_predictions(a), read_predictions(b))
        Console().print(Markdown(comparison_table(differences(pairs))))
        if not (found := parted(pairs)):
            print("both are right about the same faces")
            return
        pictures = pictures_of({p["face_id"] for of_kind in found.values() for p, _ in of_kind}, data)
        path = output or Path(f"{a.resolve().name}-{b.resolve().name}.png")
        sheet(found, pictures).savefig(path, dpi=DOTS_PER_INCH)
        print(path)
