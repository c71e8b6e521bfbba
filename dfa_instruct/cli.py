"""The command `dfa-instruct`: the dataset and the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dfa_instruct.bench.commands import bench, compare, probe, table
from dfa_instruct.errors import one_line_errors

app = typer.Typer(
    help="DFA-Instruct and DFA-Bench: the data of interactive deepfake analysis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(bench)
app.command()(probe)
app.command()(table)
app.command()(compare)


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
        from dfa_instruct.construction.pipeline import build as run
        from dfa_instruct.construction.recipe import read_recipe

        run(read_recipe(recipe, output), workers, executor)


@app.command()
def views(
    photographs: Annotated[Path, typer.Argument(help="A folder of pictures; those of a subfolder show one person.")],
    output: Annotated[Path, typer.Argument(metavar="VIEWS", help="A new folder.")],
    count: Annotated[int, typer.Option(min=1, help="Views of each photograph.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same views.")] = 0,
) -> None:
    """Write several views of each photograph, turned, zoomed and lit a little differently: for those who have few."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.sources.views import write_views

        write_views(photographs, output, count, seed)


@app.command()
def annotate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder that was built.")],
    ability: Annotated[Literal["ad", "fc"], typer.Option(help="Artifact descriptions, or free conversations.")],
    model: Annotated[str, typer.Option(help="The model, as its server names it.")],
    base_url: Annotated[
        str | None, typer.Option(help="An OpenAI-compatible server; else OpenAI's. The key is in OPENAI_API_KEY.")
    ] = None,
    compared: Annotated[
        float, typer.Option(min=0, max=1, help="The share of forgeries shown beside their bona fide.")
    ] = 0.5,
    ungrounded: Annotated[
        Literal["keep", "drop", "review"],
        typer.Option(help="What conversations are told of claims that the pixels contradict; see `instruct`."),
    ] = "drop",
    batch: Annotated[bool, typer.Option("--batch", help="By the provider's batches: cheaper, within a day.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing and what it costs.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 16,
    limit: Annotated[int | None, typer.Option(min=1, help="The first so many faces only.")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Stop where all answers about this dataset would cost more dollars.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Dollars a million tokens, a file of the form of annotate/prices.yaml.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds until a request counts as lost.")] = 120.0,
) -> None:
    """Have a language model write what is missing, once; answers are kept in <dataset>.annotations.sqlite."""
    with one_line_errors(OSError, ValueError, RuntimeError):
        from dfa_instruct.annotate.run import Settings
        from dfa_instruct.annotate.run import annotate as run

        settings = Settings(
            ability=ability,
            model=model,
            base_url=base_url,
            compared=compared,
            ungrounded=ungrounded,
            concurrency=concurrency,
            limit=limit,
            budget=budget,
            prices=prices,
            timeout=timeout,
            batch=batch,
            dry_run=dry_run,
        )
        stopped = run(folder, settings)
    if stopped:
        print(f"not all was answered: {stopped}; the same command goes on from there")
        raise typer.Exit(130 if stopped == "interrupted" else 1)


@app.command()
def review(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder that was built.")],
    reviewer: Annotated[str, typer.Option(prompt="Your name, as the rows will have it", help="Who decides.")],
    split: Annotated[
        Literal["train", "validation", "test"],
        typer.Option(help="Whose descriptions; the paper checks the test split."),
    ] = "test",
) -> None:
    """Open a page in the browser, on this machine only, to accept, edit or reject descriptions of forgeries by key.

    Decisions are kept at once in <dataset>.annotations.sqlite, with their reviewer and time; `instruct` follows them.
    """
    with one_line_errors(OSError, ValueError, ImportError):
        try:
            from dfa_instruct.review.page import review as run
        except ModuleNotFoundError as error:
            raise ImportError(f"the review needs {error.name}: pip install 'dfa-instruct[app]'") from error

        run(folder, split, reviewer)


@app.command()
def instruct(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder that was built.")],
    output: Annotated[Path | None, typer.Option(help="A new dataset folder; else DIR is written anew.")] = None,
    store: Annotated[Path | None, typer.Option(help="Who wrote what; else <dataset>.annotations.sqlite.")] = None,
    ungrounded: Annotated[
        Literal["keep", "drop", "review"],
        typer.Option(
            help="Claims that the pixels contradict stay, or go, or wait for `review` behind the measured words."
        ),
    ] = "drop",
    seed: Annotated[int, typer.Option(min=0, help="The build's, to draw the same questions.")] = 0,
    templates: Annotated[Path | None, typer.Option(help="The build's folder of templates; else the package's.")] = None,
) -> None:
    """Write the questions and answers anew from what was written and reviewed; nothing is detected or forged again."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console

        from dfa_instruct.annotate.from_store import Stored
        from dfa_instruct.annotate.measured import Measured
        from dfa_instruct.annotate.store import store_path
        from dfa_instruct.construction.rewrite import reinstruct
        from dfa_instruct.instruct.templates import libraries
        from dfa_instruct.verify.dataset_plots import table

        path = store or store_path(folder)
        library = libraries(templates)
        annotator = Stored(path, ungrounded, library) if store or path.exists() else Measured(library)
        Console().print(table(reinstruct(folder, output or folder, annotator, seed, library)))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A dataset folder, or a JSON file of FakeClue or DD-VQA.")],
    output: Annotated[Path, typer.Argument(help="The new file: a JSON list for LLaVA, JSON lines for TRL.")],
    coming: Annotated[
        Literal["dfa-instruct", "fakeclue", "dd-vqa"], typer.Option("--from", help="The form of the source.")
    ] = "dfa-instruct",
    going: Annotated[Literal["llava", "trl"], typer.Option("--to", help="The form of the output.")] = "llava",
    images: Annotated[Path | None, typer.Option(help="The folder of FakeClue's or DD-VQA's pictures.")] = None,
    forged_label: Annotated[
        int | None, typer.Option(min=0, max=1, help="The label that FakeClue's file gives a forged picture.")
    ] = None,
) -> None:
    """Write conversations in another format: LLaVA's or TRL's, of a dataset folder, FakeClue or DD-VQA."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.dataset.convert import convert as run

        for what, count in sorted(run(source, output, coming, going, images, forged_label).items()):
            print(f"{what}: {count}")


def _picture_path(output: Path | None, where: str, kind: str) -> Path:
    """Name the picture drawn of a dataset: as it is asked for, else in the working directory, after the dataset."""
    if output and (output.suffix.lower() != ".png" or not output.absolute().parent.is_dir()):
        raise ValueError(f"--output {output}: expected a file called *.png in a folder that is there")
    return output or Path(f"{Path(where).resolve().name if Path(where).exists() else Path(where).name}-{kind}.png")


_WHERE = typer.Argument(metavar="DIR", help="A dataset folder, or the id of a dataset repository on the Hub.")


@app.command()
def stats(
    where: Annotated[str, _WHERE],
    output: Annotated[Path | None, typer.Option(help="The PNG; else <dataset>-statistics.png, here.")] = None,
) -> None:
    """Count what a dataset holds and draw it: words, questions by ability, images by split, category and technique."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console

        from dfa_instruct.verify.dataset_plots import count, draw, table

        path = _picture_path(output, where, "statistics")
        statistics = count(where)
        figure = draw(statistics)
        Console().print(table(statistics))
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
        from dfa_instruct.verify.show import contact_sheet

        path = _picture_path(output, where, "sheet")
        contact_sheet(where, split, technique, examples).save(path)
        print(path)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder.")],
    repo: Annotated[str, typer.Argument(help="The dataset repository: USER/NAME. It is made where it is missing.")],
    private: Annotated[bool, typer.Option("--private", help="Only you and your organisation may see it.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch; else main. It is made where it is missing.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files, their sizes and the card; send nothing.")
    ] = False,
    without_images: Annotated[
        bool,
        typer.Option("--without-images", help="Questions and answers, with the hashes that join them to pictures."),
    ] = False,
    may_redistribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="State that you have the right to pass the pictures of this source on; may be given again. Without it "
            "only drawn faces go.",
        ),
    ] = None,
) -> None:
    """Push a dataset folder to the Hub, in one commit; the token is taken from HF_TOKEN.

    A push that broke off is run again: files that have arrived whole are not sent a second time.
    """
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.push import push as run

        run(
            folder,
            repo,
            private=private,
            revision=revision,
            dry_run=dry_run,
            images=not without_images,
            permitted=may_redistribute or (),
        )


@app.command()
def verify(
    where: Annotated[str, _WHERE],
    recipe: Annotated[
        Path | None,
        typer.Option(help="Its recipe: it names the templates, and what it leaves out may be missing."),
    ] = None,
) -> None:
    """Check every promise of a dataset on its rows; the exit status is 1 where one is broken."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console

        from dfa_instruct.construction.recipe import read_recipe
        from dfa_instruct.verify.promises import report
        from dfa_instruct.verify.verify import verify as check

        findings = check(where, read_recipe(recipe) if recipe else None)
        Console().print(report(findings))
        if broken := sum(finding.broken > 0 for finding in findings.values()):
            print(f"{broken} of {len(findings)} promises are broken")
            raise typer.Exit(1)
