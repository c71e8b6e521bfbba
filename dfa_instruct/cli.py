"""The command `dfa-instruct`: the dataset and the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from dfa_instruct.errors import one_line_errors
from dfa_instruct.vocabulary import BenchTask

app = typer.Typer(
    help="DFA-Instruct and DFA-Bench: the data of interactive deepfake analysis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A vision-language model: a folder (an adapter's too) or a Hub id.")],
    data: Annotated[
        Path | None, typer.Option(help="The dataset folder; else DFA_INSTRUCT_DIR, else the embedded sample.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write results.json and predictions.jsonl here.")] = None,
    tasks: Annotated[
        list[BenchTask] | None,
        typer.Option("--task", metavar="TASK", help=f"{', '.join(BenchTask)}; may be given again; else all."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask about this many test images only.")] = None,
    with_baselines: Annotated[
        bool, typer.Option("--baselines", help="Also run the majority, image-blind and images-swapped baselines.")
    ] = False,
) -> None:
    """Measure a model on DFA-Bench: detection, classification and artifact description; figures in percent."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.bench.baselines import baselines
        from dfa_instruct.bench.runner import load_model, run_bench

        loaded = load_model(model)
        tasks = tasks or list(BenchTask)
        results = run_bench(loaded, data, tasks=tasks, limit=limit, output=output)
        shown = {key: value for key, value in results.items() if key != "predictions"}
        if with_baselines:
            shown["baselines"] = baselines(loaded, data, tasks=tasks, limit=limit)
        print(json.dumps(shown, indent=2))


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="A recipe, see recipes/dfa-instruct/.")],
    output: Annotated[Path | None, typer.Option(help="The dataset folder to write, in place of the recipe's.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Shards made at a time; else as many as there are processors.")
    ] = None,
    executor: Annotated[
        Literal["local", "slurm", "ray"], typer.Option(help="Where datatrove runs the steps.")
    ] = "local",
) -> None:
    """Build the dataset folder from what lies on disk; a build that was killed goes on where it stopped."""
    with one_line_errors(OSError, ValueError, RuntimeError):
        from dfa_instruct.pipeline import build as run
        from dfa_instruct.recipe import read_recipe

        run(read_recipe(recipe, output), workers, executor)


_WHERE = typer.Argument(metavar="DIR", help="A dataset folder, or the id of a dataset repository on the Hub.")


@app.command()
def stats(
    where: Annotated[str, _WHERE],
    output: Annotated[Path | None, typer.Option(help="The PNG; else <dataset>-statistics.png, here.")] = None,
) -> None:
    """Count what a dataset holds and draw it: words, questions by ability, images by split, category and technique."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console

        from dfa_instruct.reading import picture_path
        from dfa_instruct.statistics import count, draw, table

        statistics = count(where)
        figure = draw(statistics)
        Console().print(table(statistics))
        path = output or picture_path(where, "statistics")
        figure.savefig(path, dpi=110, metadata={"Software": None})
        print(path)


@app.command()
def show(
    where: Annotated[str, _WHERE],
    split: Annotated[str, typer.Option(help="Whose forgeries.")] = "test",
    technique: Annotated[str | None, typer.Option(help="Those of one technique; else of every one.")] = None,
    examples: Annotated[int, typer.Option(min=1, help="How many of each technique.")] = 2,
    output: Annotated[Path | None, typer.Option(help="The PNG; else <dataset>-sheet.png, here.")] = None,
) -> None:
    """Draw a contact sheet: forgeries beside their bona fide, what differs, and the evidence drawn on."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.reading import picture_path
        from dfa_instruct.show import contact_sheet

        path = output or picture_path(where, "sheet")
        contact_sheet(where, split, technique, examples).save(path)
        print(path)


@app.command()
def verify(
    where: Annotated[str, _WHERE],
    recipe: Annotated[
        Path | None, typer.Option(help="Its recipe: splits and categories that it leaves out may be missing.")
    ] = None,
) -> None:
    """Check every promise of a dataset on its rows; the exit status is 1 where one is broken."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console

        from dfa_instruct.recipe import read_recipe
        from dfa_instruct.verify import report
        from dfa_instruct.verify import verify as check

        findings = check(where, recipe and read_recipe(recipe))
        Console().print(report(findings))
        if broken := sum(finding.broken > 0 for finding in findings.values()):
            print(f"{broken} of {len(findings)} promises are broken")
            raise typer.Exit(1)
