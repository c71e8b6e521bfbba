"""The command `dfa-instruct`: build, annotate, check and publish the dataset, and run the benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dfa_instruct.bench.commands import bench, compare, probe, table
from dfa_instruct.errors import one_line_errors
from dfa_instruct.vocabulary import Split

app = typer.Typer(
    help="DFA-Instruct and DFA-Bench: the dataset and the benchmark of interactive deepfake analysis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(bench)
app.command()(probe)
app.command()(table)
app.command()(compare)
Templates = Annotated[
    Path | None, typer.Option(help="The folder of templates, as in the recipe of the build. Default: the package's.")
]


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="A recipe, see recipes/dfa-instruct/.")],
    output: Annotated[
        Path | None, typer.Option(help="The dataset folder to write. Default: the recipe's `output`.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of shards to build at once. Default: the number of processors.")
    ] = None,
    executor: Annotated[
        Literal["local", "slurm", "ray"], typer.Option(help="Where datatrove runs the steps.")
    ] = "local",
) -> None:
    """Build a dataset folder from files on disk. A build that was stopped continues when it is run again."""
    with one_line_errors(OSError, ValueError, RuntimeError):
        from dfa_instruct.construction.pipeline import build as run
        from dfa_instruct.construction.recipe import read_recipe

        run(read_recipe(recipe, output), workers, executor)


@app.command()
def views(
    photographs: Annotated[
        Path, typer.Argument(help="A folder of pictures. All pictures in a subfolder show the same person.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The new folder.")],
    count: Annotated[int, typer.Option(min=1, help="Number of views of each photograph.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same views.")] = 0,
) -> None:
    """Write several views of each photograph with other zoom, light and JPEG quality, to extend a small dataset."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.sources.views import write_views

        write_views(photographs, output, count, seed)


@app.command()
def annotate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder.")],
    human: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Take descriptions that people have written, instead of asking a model: DD-VQA's JSON files, a CSV or "
            "JSON file of file, region, text and optionally person, or a folder of such files. May be repeated.",
        ),
    ] = None,
    ability: Annotated[
        Literal["ad", "fc"] | None, typer.Option(help="Artifact descriptions or free conversations.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="The name of the model on its server.")] = None,
    base_url: Annotated[
        str | None,
        typer.Option(help="An OpenAI-compatible server. Default: OpenAI. The key is taken from OPENAI_API_KEY."),
    ] = None,
    compared: Annotated[
        float, typer.Option(min=0, max=1, help="The share of forgeries that are shown with their bona fide face.")
    ] = 0.5,
    ungrounded: Annotated[
        Literal["keep", "drop", "review"],
        typer.Option(help="What conversations do with claims that the pixels contradict, see `instruct`."),
    ] = "drop",
    batch: Annotated[
        bool, typer.Option("--batch", help="Use the provider's batch service, which is cheaper and takes up to a day.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many texts are missing and what they would cost.")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, help="Number of requests at the same time.")] = 16,
    limit: Annotated[int | None, typer.Option(min=1, help="Annotate only this number of faces.")] = None,
    budget: Annotated[
        float | None,
        typer.Option(min=0, help="Stop before the answers for this dataset cost more than this many dollars in total."),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="A file like annotate/prices.yaml, with dollars for a million tokens.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds after which a request counts as failed.")] = 120.0,
    templates: Templates = None,
) -> None:
    """Let a language model write the missing texts, or take what people have written (--human).

    All texts are kept in <dataset>.annotations.sqlite; `instruct` writes them into the dataset.
    """
    with one_line_errors(OSError, ValueError, RuntimeError):
        if human and not (ability or model):
            from rich.console import Console

            from dfa_instruct.annotate.people import annotate_in_words_of_people

            Console().print(annotate_in_words_of_people(folder, human))
            print(f"`dfa-instruct instruct {folder}` writes these descriptions into the dataset")
            return
        if human or not ability or not model:
            raise ValueError("annotate: expected either --ability and --model, or --human alone")
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
            templates=templates,
        )
        stopped = run(folder, settings)
    if stopped:
        print(f"some texts are still missing: {stopped}; the same command continues")
        raise typer.Exit(130 if stopped == "interrupted" else 1)


@app.command()
def review(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder.")],
    reviewer: Annotated[
        str,
        typer.Option(
            prompt="Your name (it is written to the rows)", help="The name of the reviewer. Asked for if missing."
        ),
    ],
    split: Annotated[
        Split,
        typer.Option(help="The split to review. The paper's authors checked the test split."),
    ] = "test",
    templates: Templates = None,
) -> None:
    """Review the descriptions of forgeries: accept, edit or reject them with a key, on a page on this machine.

    Each decision is saved immediately in <dataset>.annotations.sqlite with the reviewer's name and the time. `instruct`
    applies the decisions.
    """
    with one_line_errors(OSError, ValueError, ImportError):
        try:
            from dfa_instruct.review.page import review as run
        except ModuleNotFoundError as error:
            raise ImportError(f"review: {error.name} is not installed; pip install 'dfa-instruct[app]'") from error

        run(folder, split, reviewer, templates)


@app.command()
def instruct(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder.")],
    output: Annotated[Path | None, typer.Option(help="The new dataset folder. Default: DIR is replaced.")] = None,
    store: Annotated[
        Path | None, typer.Option(help="The file of annotations. Default: <dataset>.annotations.sqlite.")
    ] = None,
    ungrounded: Annotated[
        Literal["keep", "drop", "review"],
        typer.Option(
            help="What to do with claims that the pixels contradict: keep them, drop them, or use the measured "
            "description until they are reviewed."
        ),
    ] = "drop",
    seed: Annotated[int, typer.Option(min=0, help="The seed of the build gives the same questions.")] = 0,
    templates: Templates = None,
) -> None:
    """Write the questions and answers again, from new and reviewed annotations. Nothing is detected or forged."""
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
    output: Annotated[
        Path,
        typer.Argument(
            help="The new file: a JSON list for LLaVA, JSON lines for TRL and DPO, NAME.tsv for VLMEvalKit. "
            "For lmms-eval, a new folder."
        ),
    ],
    source_format: Annotated[
        Literal["dfa-instruct", "fakeclue", "dd-vqa"], typer.Option("--from", help="The format of the source.")
    ] = "dfa-instruct",
    output_format: Annotated[
        Literal["llava", "trl", "dpo", "lmms-eval", "vlmevalkit"],
        typer.Option("--to", help="The format of the output."),
    ] = "llava",
    images: Annotated[Path | None, typer.Option(help="The folder of FakeClue's or DD-VQA's pictures.")] = None,
    forged_label: Annotated[
        int | None, typer.Option(min=0, max=1, help="The label of forged pictures in FakeClue's file.")
    ] = None,
) -> None:
    """Convert the conversations of a dataset folder, FakeClue or DD-VQA to the format of LLaVA or TRL.

    Or convert a dataset folder: its train split to pairs of a right and a wrong answer for TRL's DPOTrainer (dpo), or
    its test questions (DFA-Bench) to the format of lmms-eval or VLMEvalKit.
    """
    with one_line_errors(OSError, ValueError):
        if output_format in ("llava", "trl"):
            from dfa_instruct.dataset.convert import convert as run

            counts = run(source, output, source_format, output_format, images, forged_label)
        elif source_format != "dfa-instruct" or images or forged_label is not None:
            raise ValueError(f"--to {output_format}: only a dataset folder, without --images and --forged-label")
        elif output_format == "dpo":
            from dfa_instruct.dataset.preferences import write_preferences

            counts = write_preferences(source, output)
        else:
            from dfa_instruct.bench.export import write_lmms_eval, write_vlmevalkit

            write = write_lmms_eval if output_format == "lmms-eval" else write_vlmevalkit
            counts = write(source, output)
        for name, count in sorted(counts.items()):
            print(f"{name}: {count}")


def _picture_path(output: Path | None, where: str, kind: str) -> Path:
    """Return the path of a picture to draw. The default is in the working directory and named after the dataset."""
    if output and (output.suffix.lower() != ".png" or not output.absolute().parent.is_dir()):
        raise ValueError(f"--output {output}: expected a file called *.png in an existing folder")
    return output or Path(f"{Path(where).resolve().name if Path(where).exists() else Path(where).name}-{kind}.png")


_WHERE = typer.Argument(metavar="DIR", help="A dataset folder, or the id of a dataset repository on the Hub.")


@app.command()
def stats(
    where: Annotated[str, _WHERE],
    output: Annotated[Path | None, typer.Option(help="The PNG file. Default: ./<dataset>-statistics.png.")] = None,
) -> None:
    """Count a dataset and draw the counts: words, questions by ability, images by split, category and technique.

    If people have described forged faces, tables say how far they agree with the pixels and with each other.
    """
    with one_line_errors(OSError, ValueError):
        from rich.console import Console

        from dfa_instruct.records import HUMAN
        from dfa_instruct.verify.agreement import ALL, agreement, region_table, technique_tables
        from dfa_instruct.verify.dataset_plots import count, draw, table

        path = _picture_path(output, where, "statistics")
        statistics = count(where)
        figure = draw(statistics)
        Console().print(table(statistics))
        if statistics.writers["ad", HUMAN] and (agreements := agreement(where)):
            Console().print(*technique_tables(agreements), region_table(agreements[ALL]))
        figure.savefig(path, dpi=110, metadata={"Software": None})
        print(path)


@app.command()
def show(
    where: Annotated[str, _WHERE],
    split: Annotated[str, typer.Option(help="The split to draw from.")] = "test",
    technique: Annotated[str | None, typer.Option(help="The technique to draw. Default: all.")] = None,
    examples: Annotated[int, typer.Option(min=1, help="Number of forgeries of each technique.")] = 2,
    output: Annotated[Path | None, typer.Option(help="The PNG file. Default: ./<dataset>-sheet.png.")] = None,
) -> None:
    """Draw a contact sheet: forgeries beside their bona fide faces, the differences, and the artifacts."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.verify.show import contact_sheet

        path = _picture_path(output, where, "sheet")
        contact_sheet(where, split, technique, examples).save(path)
        print(path)


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A dataset folder.")],
    repo: Annotated[str, typer.Argument(help="The dataset repository USER/NAME. It is created if it is missing.")],
    private: Annotated[
        bool, typer.Option("--private", help="Create a repository that only you and your organisation can see.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="The branch. It is created if it is missing. Default: main.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files, their sizes and the card, and send nothing.")
    ] = False,
    without_images: Annotated[
        bool,
        typer.Option("--without-images", help="Push only questions and answers, with the hashes of the pictures."),
    ] = False,
    may_redistribute: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE",
            help="State that you have the right to redistribute the pictures of this source; descriptions: what "
            "people have written. May be repeated. Drawn faces need no such statement.",
        ),
    ] = None,
) -> None:
    """Push a dataset folder to the Hub in one commit. The token is taken from HF_TOKEN.

    If a push is interrupted, run it again. Files that have arrived are not sent a second time.
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
        typer.Option(
            help="The recipe of the build. Its templates are used, and only its splits and categories are expected."
        ),
    ] = None,
) -> None:
    """Check the rows of a dataset against its guarantees. The exit status is 1 if one fails."""
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
