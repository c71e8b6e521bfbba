"""The command `dfa-gpt`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfa_instruct.errors import one_line_errors, printable
from modeling_dfa_gpt.bases import PHOTO_BASE

if TYPE_CHECKING:
    from modeling_dfa_gpt.dfa_gpt import Analysis

app = typer.Typer(
    help="DFA-GPT: a vision-language model that answers questions about forged faces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[str, typer.Argument(help="The folder of an adapter or a merged model, or a Hub id.")]
Data = Annotated[Path, typer.Option(help="The dataset folder.")]
NewModel = Annotated[Path, typer.Option(help="A new folder for the LLaVA model.")]
Private = Annotated[bool, typer.Option("--private", help="Make the repository private.")]
Revision = Annotated[str | None, typer.Option(help="The branch. It is created if it does not exist. Default: main.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the files, their sizes and the card, and send nothing.")]


@app.command()
def quickstart(
    bona_fide: Annotated[
        Path | None, typer.Option(help="A folder of photographs that you may use. Default: drawn portraits.")
    ] = None,
    synthesized: Annotated[
        Path | None, typer.Option(help="A folder of faces made by a generator. Default: eigenfaces.")
    ] = None,
    forged: Annotated[
        Path | None,
        typer.Option(help="Forged faces: a CSV, or a folder with subfolders named TECHNIQUE or CATEGORY-TECHNIQUE."),
    ] = None,
    faceforensics: Annotated[
        Path | None, typer.Option(help="The folder of FaceForensics++. No other faces can be given with it.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The folder for all results.")] = Path("runs/quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="The same seed and faces give the same dataset.")] = 0,
) -> None:
    """Run all steps once on a small scale: dataset, training, calibration, DFA-Bench and report."""
    with one_line_errors(OSError, ValueError, RuntimeError, subprocess.CalledProcessError):
        from modeling_dfa_gpt.quickstart import quickstart as run
        from modeling_dfa_gpt.quickstart_recipe import Given

        run(Given(bona_fide, synthesized, forged, faceforensics), output, seed)


@app.command()
def chat(model: Model, image: Annotated[Path, typer.Argument(help="An image of one face.")]) -> None:
    """Hold a conversation about one face. An empty line ends it."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.dfa_gpt import DfaGpt
        from modeling_dfa_gpt.picture import open_picture

        picture = open_picture(image)  # before the weights, whose loading may take minutes
        dfa_gpt = DfaGpt.from_pretrained(model)
        conversation = dfa_gpt.chat(picture)
        if conversation.notice:
            print(f"Do not rely on the answers: {conversation.notice}.")
        if warning := dfa_gpt.calibration.warning():
            print(warning)
        print("Ask about the face (for example: Has this face been forged?). An empty line ends the conversation.")
        while True:
            try:
                question = input("\nyou: ").strip()
                question.encode()  # fails for invalid bytes, which Python passes on as surrogates
            except (EOFError, KeyboardInterrupt):
                break
            except UnicodeError as error:
                raise ValueError("standard input: expected UTF-8 text") from error
            if not question:
                break
            print("DFA-GPT:", end="", flush=True)
            for piece in conversation.stream(question):
                print(piece, end="", flush=True)
            print()


@app.command()
def analyze(
    model: Model,
    files: Annotated[list[Path], typer.Argument(help="Images of one face each, and videos.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file, one per line.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Give a verdict even if there should be none.")] = False,
) -> None:
    """Print the verdict with its probability, the category and a description of the artifacts.

    There is no verdict on an image without exactly one face, or with a face unlike those of the training data, and none
    if faces cannot be detected. The verdict on a video is the mean over the largest faces of its frames. The exit
    status is 3 if a file has no verdict, and 2 if a file cannot be read; with --json, such a file has an object, too.
    """
    with one_line_errors(OSError, ValueError):
        from dfa_instruct.sources.pictures import BadPictureError
        from dfa_instruct.sources.walk import is_video
        from modeling_dfa_gpt.dfa_gpt import DfaGpt
        from modeling_dfa_gpt.timeline import analyze_video

        dfa_gpt = DfaGpt.from_pretrained(model)
        calibration = dfa_gpt.calibration
        print(f"{calibration.training_data()} {calibration.warning()}".rstrip(), file=sys.stderr)
        status = 0
        for file in files:
            try:
                if is_video(file.name):
                    timeline = analyze_video(dfa_gpt, file, force)
                    label, text = timeline.verdict.label, timeline.table()
                    found = {"video": str(file), **timeline.to_dict()}
                else:
                    analysis = dfa_gpt.analyze(file, force)
                    label, text = analysis.label, format_analysis(analysis)
                    found = {"image": str(file), **analysis.to_dict()}
            except BadPictureError as error:
                print(f"error: {printable(str(error))}", file=sys.stderr, flush=True)
                if as_json:
                    print(json.dumps({"file": str(file), "error": str(error)}, ensure_ascii=False), flush=True)
                status = 2
                continue
            found["trained_on"] = calibration.trained_on
            if label is None:
                status = status or 3
            if as_json:
                print(json.dumps(found, ensure_ascii=False), flush=True)
            else:
                print(f"{printable(str(file))}: {text}\n", flush=True)
        if status:
            raise typer.Exit(status)


def format_analysis(analysis: Analysis) -> str:
    """Return an analysis as text."""
    if analysis.label is None:
        return f"no verdict: {analysis.reason} (--force gives one)"
    kind = "calibrated" if analysis.calibrated else "uncalibrated"
    lines = [f"{analysis.label} ({kind} probability of a forgery {analysis.probability:.3f})"]
    if analysis.forced:
        lines.append(f"forced: there should be no verdict, because {analysis.reason}")
    if analysis.uncertain:
        lines.append("uncertain: verdicts with this probability were too often wrong on the validation split")
    if analysis.unstable:
        lines.append("unstable: the verdict changes if the image is saved as a JPEG or shifted by half a pixel")
    if analysis.disagreements:
        lines.append(f"the model contradicts this verdict in its {' and its '.join(analysis.disagreements)}")
    lines += [analysis.classification, analysis.description]
    if analysis.label == "forged" and analysis.changed:
        named = [f"{region} ({share:.0%})" for region, share in analysis.changed.named_regions()]
        lines.append(f"may have been changed: {', '.join(named) or 'no region'}")
    return "\n".join(lines)


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="The folder of an adapter or a merged model.")],
    data: Annotated[Path, typer.Option(help="The dataset folder that the model was trained on.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Test on this many images only.")] = None,
) -> None:
    """Calibrate the verdict and measure it on the test split, learn which faces the model knows, and map forgeries.

    The results are written to the model's folder, and the card (README.md) of an adapter is updated.
    """
    with one_line_errors(OSError, ValueError):
        if not model.is_dir():
            raise FileNotFoundError(f"{model}: no such folder (the calibration is written to the folder of the model)")
        from dfa_instruct.bench.rows import stream

        for split in ("train", "validation", "test"):
            stream(data, split, ["face_id"])  # fails here if it is missing, before the model is loaded

        from dfa_instruct.hub import CARD
        from dfa_instruct.vlm.load import ADAPTER_CONFIG
        from modeling_dfa_gpt.calibration import calibrate as run
        from modeling_dfa_gpt.dfa_gpt import DfaGpt
        from modeling_dfa_gpt.domain import KnownFaces
        from modeling_dfa_gpt.forgery_map import ForgeryMap
        from modeling_dfa_gpt.hub.card import card_of

        dfa_gpt = DfaGpt.from_pretrained(model)
        calibration, known_faces = run(dfa_gpt, data, limit), KnownFaces.learn(data)
        calibration.write(model)
        if forgery_map := ForgeryMap.learn(dfa_gpt, data):
            forgery_map.write(model)
        sentences = [calibration.warning()]
        if known_faces:
            known_faces.write(model)
        else:
            sentences.append(
                "The dataset has too few faces to learn which faces the model knows, so no face will be refused."
            )
        if (model / ADAPTER_CONFIG).is_file():
            card_of(model).save(model / CARD)
        elif (model / CARD).is_file():
            sentences.append(f"{model / CARD} was not updated, and states the previous calibration.")
        print(f"{model}: calibrated on {calibration.images} faces ({calibration.trained_on})")
        for sentence in filter(None, sentences):
            print(sentence)


@app.command("app")
def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="The address or host name at which the page is served.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port. Default: the first free one from 7860.")
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(help="USER:PASSWORD for the page. An environment variable is safer.", envvar="DFA_GPT_AUTH"),
    ] = None,
) -> None:
    """Serve a page on which you upload an image, see the verdict and its evidence, and ask questions."""
    with one_line_errors(OSError, ValueError, ImportError):
        user, colon, password = (auth or "").strip().partition(":")
        if auth and not (user and password):
            raise ValueError(f"--auth: expected USER:PASSWORD, found {'an empty part' if colon else 'no colon'}")
        from dfa_instruct.vlm.load import check_loadable

        check_loadable(model)  # before the imports below, which take seconds
        try:
            from modeling_dfa_gpt.app.page import serve as run
        except ModuleNotFoundError as error:
            raise ImportError(f"the app needs {error.name}: pip install 'dfa-instruct[app]'") from error

        run(model, host, port, (user, password) if auth else None)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="The folder of an adapter.")],
    output: Annotated[Path, typer.Option(help="A new folder for the merged model.")],
) -> None:
    """Merge an adapter into its base, and write a folder that Transformers loads."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.dfa_gpt import merge as run

        run(adapter, output)


@app.command()
def push(
    adapter: Annotated[
        Path,
        typer.Argument(help="The folder of an adapter, or of a complete model with a README.md."),
    ],
    repo: Annotated[str, typer.Argument(help="The model repository, USER/NAME. It is created if it does not exist.")],
    merged: Annotated[bool, typer.Option("--merged", help="Push the adapter merged into its base.")] = False,
    base: Annotated[
        str | None,
        typer.Option(help="The base on the Hub, USER/NAME, if the adapter names a folder as its base."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="The results.json of DFA-Bench. Default: the one in the folder of the adapter.")
    ] = None,
    private: Private = False,
    revision: Revision = None,
    dry_run: DryRun = False,
) -> None:
    """Push an adapter or a merged model to the Hub in one commit, with the token in HF_TOKEN.

    If the connection fails, run the same command again: files that were uploaded are not sent again.
    """
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.hub.push import push as run

        run(
            adapter,
            repo,
            merged=merged,
            base=base,
            results=results,
            private=private,
            revision=revision,
            dry_run=dry_run,
        )


@app.command()
def push_space(
    model: Annotated[str, typer.Argument(help="An adapter or a complete model on the Hub, USER/NAME.")],
    repo: Annotated[str, typer.Argument(help="The Space, USER/NAME. It is created if it does not exist.")],
    private: Private = False,
    revision: Annotated[str | None, typer.Option(help="The branch. Default: main, which the Space runs.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Push the page of `dfa-gpt app` as a Space in one commit, with the token in HF_TOKEN."""
    with one_line_errors(OSError, ValueError, ImportError):
        from modeling_dfa_gpt.hub.space import push_space as run

        run(model, repo, private=private, revision=revision, dry_run=dry_run)


@app.command()
def assemble(
    language: Annotated[str, typer.Option(help="The folder or Hub id of a causal language model.")],
    output: NewModel,
    vision: Annotated[
        str,
        typer.Option(
            help="The folder or Hub id of a CLIP, DINOv2 or FocalNet vision model, or of a LLaVA model.",
            show_default="the tower of this package for photographs",
        ),
    ] = str(PHOTO_BASE),
    image_size: Annotated[
        int | None,
        typer.Option(min=1, help="The side of the images in pixels. Default: the model's own, or 224 for DINOv2."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the projector's random weights.")] = 0,
) -> None:
    """Combine a pretrained vision tower and language model into a LLaVA model, as a base for DFA-GPT."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.bases.assemble import assemble as run

        run(vision, language, output, image_size=image_size, seed=seed)


@app.command()
def teach(
    base: Annotated[Path, typer.Argument(help="The folder of a LLaVA model with the tower for photographs.")],
    data: Data,
    output: NewModel,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="The number of steps of 16 pairs. Default: by the number of bona fide people."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The seed of all random choices.")] = 0,
) -> None:
    """Train the vision tower of a base on the forged patches of a dataset.

    If the command is stopped, run it again to resume.
    """
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.bases.teach import teach_base as run

        run(base, data, output, seed=seed, steps=steps)


@app.command()
def probe(
    base: Annotated[str, typer.Argument(help="The folder or Hub id of a LLaVA model.")],
    data: Data,
) -> None:
    """Measure how well a vision tower separates forged faces, with a logistic regression on its patches."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.bases.tower_probe import probe as run

        run(base, data)


@app.command()
def pretrain(
    data: Annotated[
        Path, typer.Option(help="The dataset folder, built by the dfa-instruct.yaml of the base's recipes.")
    ],
    output: Annotated[Path, typer.Option(help="A new folder for the base.")],
    photographs: Annotated[
        bool, typer.Option("--photographs", help="Recreate the base for photographs (recipes/dfa-gpt-photo).")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the weights and the order.")] = 0,
) -> None:
    """Recreate a base of this package: by default, the tiny base for drawn faces (recipes/dfa-gpt-tiny).

    If the command is stopped, run it again to resume.
    """
    with one_line_errors(OSError, ValueError, subprocess.CalledProcessError):
        from modeling_dfa_gpt.bases.pretrain import pretrain as run

        run(data, output, photographs=photographs, seed=seed)


@app.command()
def describe(recipe: Annotated[Path, typer.Argument(help="A training recipe.")]) -> None:
    """Estimate the parameters, tokens, memory, FLOPs and hours of a training, without loading weights."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.estimate import describe as run

        run(recipe)
