"""The commands of DFA-Bench. To use several GPUs: `accelerate launch --no_python dfa-instruct bench …`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from dfa_instruct.errors import one_line_errors
from dfa_instruct.vlm.load import SERVER_PREFIX, check_loadable, check_on_hub
from dfa_instruct.vocabulary import BenchTask

_Model = Annotated[
    str,
    typer.Argument(
        help="A vision-language model: a folder (of a model or of an adapter), a Hub id, or openai:NAME for a model of "
        "an OpenAI-compatible server, whose key is read from OPENAI_API_KEY."
    ),
]
_Data = Annotated[
    Path | None, typer.Option(help="The dataset folder. Default: DFA_INSTRUCT_DIR, or else the embedded sample.")
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
            "--task", metavar="TASK", help=f"{', '.join(BenchTask)}. May be repeated. Default: all, then conversations."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask about this many test images only.")] = None,
    with_baselines: Annotated[
        bool, typer.Option("--baselines", help="Also measure simpler answers, and ask in other forms and orders.")
    ] = False,
    detector: Annotated[
        Path | None,
        typer.Option(help="With --baselines: the output folder of `probe --tune`, to be shown as a baseline."),
    ] = None,
    with_regions: Annotated[
        bool, typer.Option("--regions", help="Also ask about every region of every face whether it shows an artifact.")
    ] = False,
    perturb: Annotated[
        str | None,
        typer.Option(help="Repeat the questions for perturbed images, for example jpeg:30,blur:2,resize:0.5,noise:8."),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Also write the faces into predictions.parquet.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON instead of tables.")] = False,
    base_url: Annotated[
        str | None, typer.Option(help="The address of the server for openai:NAME. Default: OpenAI's.")
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, help="The number of questions sent to a server at the same time.")
    ] = 16,
    answer_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The maximum number of tokens of an answer, including a thought. Default: 128, for descriptions 512, "
            "for conversations 200, and 4096 more for a model that thinks.",
        ),
    ] = None,
) -> None:
    """Measure a model on DFA-Bench: detection, classification, artifact description and conversation, in percent.

    Answers are kept in <dataset>.answers.sqlite. If you stop a bench and run it again, it asks only for missing ones.
    """
    with one_line_errors(OSError, ValueError, RuntimeError):
        if not model.startswith(SERVER_PREFIX) and base_url is None:
            check_loadable(model)  # before the imports, which take seconds

        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.bench_model import BenchModel, answers_path
        from dfa_instruct.bench.experiments.robustness import parse_perturbations
        from dfa_instruct.bench.measure import measure
        from dfa_instruct.bench.report.markdown import summary, write_report
        from dfa_instruct.bench.results import Results, model_name, write_results
        from dfa_instruct.bench.rows import pictures_of
        from dfa_instruct.vlm.answer_cache import AnswerCache
        from dfa_instruct.vlm.model import open_model

        if output and output.exists() and not output.is_dir():  # before hours of work
            raise ValueError(f"--output {output}: that is a file; expected a folder")
        if detector and not with_baselines:
            raise ValueError("--detector: expected with --baselines, because it is one of them")
        perturbations = parse_perturbations(perturb) if perturb else []
        opened = open_model(model, base_url, concurrency, answer_tokens)
        bench_model = BenchModel(opened, AnswerCache(answers_path(data)))
        measured = measure(
            bench_model,
            data,
            tasks,
            limit=limit,
            with_baselines=with_baselines,
            detector=detector,
            with_regions=with_regions,
            perturbations=perturbations,
        )
        if not opened.is_main_process:
            return
        results: Results = {"model": model_name(model), "weights": opened.weights, **measured}
        if output:
            face_ids = {prediction["face_id"] for prediction in results["predictions"]}
            write_results(results, output, pictures_of(face_ids, data) if with_images else None)
            write_report(results, data, output)
        if as_json:
            print(json.dumps({k: v for k, v in results.items() if k not in ("predictions", "talks")}, indent=2))
        else:
            Console().print(*map(Markdown, summary(results)))


def probe(
    model: Annotated[str, typer.Argument(help="A vision model: a folder, a Hub id, or the name of a plug-in.")],
    data: _Data = None,
    output: Annotated[
        Path | None, typer.Option(help="Write report.md, results.json and predictions.parquet here.")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option(min=8, help="The side of images in pixels. Default: the model's own.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed for the layers' weights and the order of the faces.")] = 0,
    tune: Annotated[
        bool, typer.Option("--tune", help="Train the whole model with one linear layer, as a plain detector.")
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="The number of epochs of --tune.")] = 10,
) -> None:
    """Measure a frozen vision-only model as in Table I, with one linear layer for DF-D and one for DF-C.

    With --tune, the result is the plain detector, which `bench --baselines --detector OUTPUT` shows beside a
    vision-language model.
    """
    with one_line_errors(OSError, ValueError):
        if "/" in model and not Path(model).is_dir():
            check_on_hub(model)  # before the imports, which take seconds

        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.report.markdown import summary, write_report
        from dfa_instruct.bench.results import write_results

        if output and output.exists() and not output.is_dir():  # before minutes of work
            raise ValueError(f"--output {output}: that is a file; expected a folder")
        if tune:
            from dfa_instruct.bench.experiments.plain_detector import run_plain_detector

            results = run_plain_detector(model, data, image_size=image_size, epochs=epochs, seed=seed)
        else:
            from dfa_instruct.bench.experiments.probe import run_probe

            results = run_probe(model, data, image_size=image_size, seed=seed)
        if output is not None:
            write_results(results, output)
            write_report(results, data, output)
        Console().print(*map(Markdown, summary(results)))


def table(
    number: Annotated[int, typer.Argument(min=1, max=3, help="The number of the paper's table.")],
    results: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[[ROW=]RESULTS]...",
            help="An output folder of `bench` or `probe`. ROW is the row of the table, if the model has another name: "
            "'D+C=runs/dc'. Of several results for one row, the worst figures are printed.",
        ),
    ] = None,
    form: Annotated[
        Literal["markdown", "latex"], typer.Option("--format", help="The format of the table.")
    ] = "markdown",
) -> None:
    """Print one of the paper's tables, with the paper's figures and ours side by side."""
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.bench.report.paper_tables import latex, markdown, paper_table, read_result

        table = paper_table(number, [read_result(argument) for argument in results or []])
        print(markdown(table) if form == "markdown" else latex(table))


def compare(
    a: Annotated[Path, typer.Argument(help="An output folder of `bench` or `probe`.")],
    b: Annotated[Path, typer.Argument(help="The output folder for another model and the same faces.")],
    data: _Data = None,
    output: Annotated[
        Path | None, typer.Option(help="The PNG file to write. Default: <A>-<B>.png in the current folder.")
    ] = None,
) -> None:
    """Compare two models on the same faces, and draw the faces about which only one of them is right."""
    with one_line_errors(OSError, ValueError):
        from rich.console import Console
        from rich.markdown import Markdown

        from dfa_instruct.bench.experiments.compare import (
            comparison_table,
            differences,
            disagreements,
            draw_disagreements,
            pair_predictions,
        )
        from dfa_instruct.bench.predictions import read_predictions
        from dfa_instruct.bench.report.plots import DOTS_PER_INCH
        from dfa_instruct.bench.rows import pictures_of

        pairs = pair_predictions(read_predictions(a), read_predictions(b))
        Console().print(Markdown(comparison_table(differences(pairs))))
        if not (found := disagreements(pairs)):
            print("both are right about the same faces")
            return
        pictures = pictures_of({p["face_id"] for kind in found.values() for p, _ in kind}, data)
        path = output or Path(f"{a.resolve().name}-{b.resolve().name}.png")
        draw_disagreements(found, pictures).savefig(path, dpi=DOTS_PER_INCH)
        print(path)
