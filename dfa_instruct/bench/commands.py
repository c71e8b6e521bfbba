"""The commands of DFA-Bench. On several GPUs: `accelerate launch --no_python dfa-instruct bench …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from dfa_instruct.errors import one_line_errors
from dfa_instruct.vlm.load import check_loadable, check_on_hub
from dfa_instruct.vocabulary import BenchTask

_Model = Annotated[
    str,
    typer.Argument(
        help="A vision-language model: a folder (an adapter's too), a Hub id, or openai:NAME, a model of an "
        "OpenAI-compatible server; its key is in OPENAI_API_KEY."
    ),
]
_Data = Annotated[
    Path | None, typer.Option(help="The dataset folder; else DFA_INSTRUCT_DIR, else the embedded sample.")
]

_AnswerTokens = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="The most tokens of an answer, its thought included; else 128, of a description 512, of a conversation's "
        "turn 200, and 4096 more of a model that thinks.",
    ),
]


def bench(
    model: _Model,
    data: _Data = None,
    output: Annotated[
        Path | None, typer.Option(help="Write report.md, results.json, predictions.parquet, conversations.jsonl here.")
    ] = None,
    tasks: Annotated[
        list[BenchTask] | None,
        typer.Option(
            "--task", metavar="TASK", help=f"{', '.join(BenchTask)}; may be given again; else all, and conversations."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask about this many test images only.")] = None,
    beside: Annotated[
        bool, typer.Option("--baselines", help="Also run the three baselines, and ask in other forms and orders.")
    ] = False,
    perturb: Annotated[
        str | None,
        typer.Option(help="Ask again about perturbed pictures: jpeg:30,jpeg:70,blur:2,resize:0.5,noise:8 for example."),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Write the faces into predictions.parquet, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON, in place of the tables.")] = False,
    base_url: Annotated[str | None, typer.Option(help="The server of openai:NAME; else OpenAI's.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions that a server is asked at a time.")] = 16,
    answer_tokens: _AnswerTokens = None,
) -> None:
    """Measure a model on DFA-Bench: detection, classification, artifact description, conversation; in percent.

    Answers are kept in <dataset>.answers.sqlite: a bench that was killed asks only for those that are missing.
    """
    with one_line_errors(OSError, ValueError, RuntimeError):
        if not model.startswith("openai:"):
            check_loadable(model)  # before the imports, which take seconds

        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.bench_model import BenchModel, answers_path
        from dfa_instruct.bench.experiments.robustness import parse_perturbations
        from dfa_instruct.bench.measure import measure
        from dfa_instruct.bench.report.markdown import summary, write_report
        from dfa_instruct.bench.rows import pictures_of
        from dfa_instruct.bench.runner import name_of, write_results
        from dfa_instruct.vlm.answer_cache import AnswerCache
        from dfa_instruct.vlm.model import open_model

        if output and output.exists() and not output.is_dir():  # before hours of work
            raise ValueError(f"--output {output}: that is a file; expected a folder")
        perturbations = parse_perturbations(perturb) if perturb else []
        opened = open_model(model, base_url, concurrency, answer_tokens)
        loaded = BenchModel(opened, AnswerCache(answers_path(data)))
        measured = measure(loaded, data, tasks, limit=limit, beside=beside, perturbations=perturbations)
        if not opened.shows:
            return
        results = {"model": name_of(model), "weights": opened.weights, **measured}
        if output:
            asked = {prediction["face_id"] for prediction in results["predictions"]}
            write_results(results, output, pictures_of(asked, data) if with_images else None)
            write_report(results, data, output)
        if as_json:
            print(json.dumps({k: v for k, v in results.items() if k not in ("predictions", "talks")}, indent=2))
        else:
            Console().print(*map(Markdown, summary(results)))


def probe(
    model: Annotated[str, typer.Argument(help="A vision model: a folder, a Hub id, or the name of a plug-in's.")],
    data: _Data = None,
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
        if "/" in model and not Path(model).is_dir():
            check_on_hub(model)  # before the imports, which take seconds

        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.experiments.probe import run_probe
        from dfa_instruct.bench.report.markdown import metrics_table, write_report
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
        from dfa_instruct.bench.report.paper_tables import latex, markdown, paper_table, read_result

        made = paper_table(number, [read_result(given) for given in results or []])
        print(markdown(made) if form == "markdown" else latex(made))


def compare(
    a: Annotated[Path, typer.Argument(help="What `--output` of a bench or a probe wrote.")],
    b: Annotated[Path, typer.Argument(help="The same of another model, asked about the same faces.")],
    data: _Data = None,
    output: Annotated[Path | None, typer.Option(help="The PNG; else <A>-<B>.png, here.")] = None,
) -> None:
    """Hold two models against each other on the same faces, and draw those of which one alone is right."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.experiments.compare import (
            comparison_table,
            differences,
            paired,
            sheet,
            where_they_differ,
        )
        from dfa_instruct.bench.predictions import read_predictions
        from dfa_instruct.bench.report.plots import DOTS_PER_INCH
        from dfa_instruct.bench.rows import pictures_of

        pairs = paired(read_predictions(a), read_predictions(b))
        Console().print(Markdown(comparison_table(differences(pairs))))
        if not (found := where_they_differ(pairs)):
            print("both are right about the same faces")
            return
        pictures = pictures_of({p["face_id"] for of_kind in found.values() for p, _ in of_kind}, data)
        path = output or Path(f"{a.resolve().name}-{b.resolve().name}.png")
        sheet(found, pictures).savefig(path, dpi=DOTS_PER_INCH)
        print(path)
