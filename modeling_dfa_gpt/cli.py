"""The command `dfa-gpt`: the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfa_instruct.errors import one_line_errors, printable

if TYPE_CHECKING:
    from modeling_dfa_gpt.dfa_gpt import Analysis

app = typer.Typer(
    help="DFA-GPT: a vision-language model that answers questions about forged faces.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Model = Annotated[str, typer.Argument(help="An adapter's or a merged model's folder, or a Hub id.")]


@app.command()
def quickstart(
    bona_fide: Annotated[
        Path | None, typer.Option(help="A folder of photographs that you may use; else drawn portraits.")
    ] = None,
    synthesized: Annotated[
        Path | None, typer.Option(help="A folder of face images that a generator made; else eigenfaces.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("runs/quickstart"),
    seed: Annotated[int, typer.Option(min=0, help="Same seed and faces: same dataset.")] = 0,
) -> None:
    """Run the whole chain once: faces, forgeries, dataset, training, DFA-Bench, report."""
    with one_line_errors(OSError, ValueError, RuntimeError, subprocess.CalledProcessError):
        from modeling_dfa_gpt.quickstart import quickstart as run

        run(bona_fide, synthesized, output, seed)


@app.command()
def chat(model: Model, image: Annotated[Path, typer.Argument(help="A picture of one face.")]) -> None:
    """Talk about one face; an empty line or end of input ends the conversation."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.dfa_gpt import DfaGpt
        from modeling_dfa_gpt.picture import open_picture

        picture = open_picture(image)  # before the weights, which may take minutes
        dfa_gpt = DfaGpt.from_pretrained(model)
        conversation = dfa_gpt.chat(picture)
        if conversation.notice:
            print(f"Do not rely on the answers: {conversation.notice}.")
        if warning := dfa_gpt.calibration.warning():
            print(warning)
        print("Ask about the face (for example: Has this face been forged?). An empty line ends.")
        while True:
            try:
                question = input("\nyou: ").strip()
                question.encode()  # Python may pass bytes that are not text on, as surrogates
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
    files: Annotated[list[Path], typer.Argument(help="Pictures of one face each, and videos.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a file, one a line.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Give a verdict even where there should be none.")] = False,
) -> None:
    """Give the verdict with its probability, the category and a description of the artifacts.

    A picture gets no verdict where it shows no face or several, where no face can be looked for, or where its face is
    unlike those that the model was trained on; the exit status is then 3. The verdict on a video is the mean over
    frames of it, each judged by its largest face; where no frame gets a verdict, the exit status is 3. A file that
    cannot be read is named in an error, and with --json in an object of its own, too; the exit status is then 2.
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
                    label, words = timeline.verdict.label, timeline.table()
                    known = {"video": str(file), **timeline.to_dict()}
                else:
                    analysis = dfa_gpt.analyze(file, force)
                    label, words = analysis.label, in_words(analysis)
                    known = {"image": str(file), **analysis.to_dict()}
            except BadPictureError as error:
                print(f"error: {printable(str(error))}", file=sys.stderr, flush=True)
                if as_json:
                    print(json.dumps({"file": str(file), "error": str(error)}, ensure_ascii=False), flush=True)
                status = 2
                continue
            known["trained_on"] = calibration.trained_on
            if label is None:
                status = status or 3
            if as_json:
                print(json.dumps(known, ensure_ascii=False), flush=True)
            else:
                print(f"{printable(str(file))}: {words}\n", flush=True)
        if status:
            raise typer.Exit(status)


def in_words(analysis: Analysis) -> str:
    """Say an analysis in a few lines."""
    if analysis.label is None:
        return f"no verdict: {analysis.reason} (--force gives one)"
    kind = "calibrated probability" if analysis.calibrated else "probability, not calibrated,"
    lines = [f"{analysis.label} ({kind} of a forgery {analysis.probability:.3f})"]
    if analysis.forced:
        lines.append(f"forced: there should be no verdict: {analysis.reason}")
    if analysis.uncertain:
        lines.append("uncertain: verdicts of this probability were too often wrong on the validation split")
    if analysis.unstable:
        lines.append("unstable: saved as a JPEG, or shifted by half a pixel, it gets the other verdict")
    if analysis.disagreements:
        lines.append(f"the model contradicts this verdict in its {' and its '.join(analysis.disagreements)}")
    return "\n".join([*lines, analysis.classification, analysis.description])


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help="An adapter's or a merged model's folder.")],
    data: Annotated[Path, typer.Option(help="The dataset folder that it was trained on.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Test on this many images only.")] = None,
) -> None:
    """Calibrate the verdict on the validation split, test it, and learn which faces the model knows.

    What was found is written into the model's folder, and an adapter's card (README.md) is written anew.
    """
    with one_line_errors(OSError, ValueError):
        if not model.is_dir():
            raise FileNotFoundError(f"{model}: no such folder (the calibration is written into the model's folder)")
        from dfa_instruct.bench.rows import stream

        for split in ("train", "validation", "test"):
            stream(data, split, ["face_id"])  # before the model is loaded, which takes longer

        from dfa_instruct.hub import CARD
        from dfa_instruct.vlm.load import ADAPTER_CONFIG
        from modeling_dfa_gpt.calibration import calibrate as run
        from modeling_dfa_gpt.dfa_gpt import DfaGpt
        from modeling_dfa_gpt.domain import KnownFaces
        from modeling_dfa_gpt.hub.card import card_of

        calibration, known_faces = run(DfaGpt.from_pretrained(model), data, limit), KnownFaces.learn(data)
        calibration.write(model)
        sentences = [calibration.warning()]
        if known_faces:
            known_faces.write(model)
        else:
            sentences.append("The dataset has too few faces to learn which faces the model knows: it will refuse none.")
        if (model / ADAPTER_CONFIG).is_file():
            card_of(model).save(model / CARD)
        elif (model / CARD).is_file():
            sentences.append(f"{model / CARD}: not written anew, and states the calibration that the model had before.")
        print(f"{model}: calibrated on {calibration.images} faces ({calibration.trained_on})")
        for sentence in filter(None, sentences):
            print(sentence)


@app.command("app")
def serve(
    model: Model,
    host: Annotated[str, typer.Option(help="The address or host name that the page is served at.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The port; without it, the first free one from 7860 on.")
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            help="USER:PASSWORD that the page asks for; safer as an environment variable.", envvar="DFA_GPT_AUTH"
        ),
    ] = None,
) -> None:
    """Open a page in the browser: put in a picture, see the verdict and where it shows, talk about it."""
    with one_line_errors(OSError, ValueError, ImportError):
        user, colon, password = (auth or "").strip().partition(":")
        if auth and not (user and password):
            raise ValueError(f"--auth: expected USER:PASSWORD, found {'an empty part' if colon else 'no colon'}")
        from dfa_instruct.vlm.load import check_loadable

        check_loadable(model)  # before the imports, which take seconds
        try:
            from modeling_dfa_gpt.app.page import serve as run
        except ModuleNotFoundError as error:
            raise ImportError(f"the app needs {error.name}: pip install 'dfa-instruct[app]'") from error

        run(model, host, port, (user, password) if auth else None)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="An adapter's folder.")],
    output: Annotated[Path, typer.Option(help="A new folder for the merged model.")],
) -> None:
    """Merge an adapter into its base: a folder that plain Transformers loads."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.dfa_gpt import merge as run

        run(adapter, output)


@app.command()
def push(
    adapter: Annotated[
        Path,
        typer.Argument(help="An adapter's folder, or the folder of a whole model, such as a base, with a README.md."),
    ],
    repo: Annotated[str, typer.Argument(help="The model repository: USER/NAME. It is made where it is missing.")],
    merged: Annotated[bool, typer.Option("--merged", help="Merge the adapter into its base, and push that.")] = False,
    base: Annotated[
        str | None,
        typer.Option(help="The adapter's base on the Hub, where the adapter names a folder as its base: USER/NAME."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="The results.json of DFA-Bench; without it, the one in the adapter's folder.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Only you and your organisation may see it.")] = False,
    revision: Annotated[
        str | None, typer.Option(help="The branch, main by default; it is made where it is missing.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files, their sizes and the card; send nothing.")
    ] = False,
) -> None:
    """Push an adapter to the Hub, or what it is merged into, in one commit; the token is taken from HF_TOKEN.

    After a push that broke off, run the same command again: files that have arrived are not sent a second time.
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
    model: Annotated[str, typer.Argument(help="A model on the Hub, an adapter or a whole one: USER/NAME.")],
    repo: Annotated[str, typer.Argument(help="The Space: USER/NAME. It is made where it is missing.")],
    private: Annotated[bool, typer.Option("--private", help="Only you and your organisation may see it.")] = False,
    revision: Annotated[str | None, typer.Option(help="The branch; a Space runs main, the default.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the files, their sizes and the card; send nothing.")
    ] = False,
) -> None:
    """Push the page of `dfa-gpt app` as a Space, in one commit; the token is taken from HF_TOKEN."""
    with one_line_errors(OSError, ValueError, ImportError):
        from modeling_dfa_gpt.hub.space import push_space as run

        run(model, repo, private=private, revision=revision, dry_run=dry_run)


@app.command()
def assemble(
    vision: Annotated[str, typer.Option(help="A CLIP or DINOv2 vision model: a folder or a Hub id.")],
    language: Annotated[str, typer.Option(help="A causal language model: a folder or a Hub id.")],
    output: Annotated[Path, typer.Option(help="A new folder for the LLaVA.")],
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the pictures in pixels; else CLIP's own, or 224 for DINOv2.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the projector's random weights.")] = 0,
) -> None:
    """Join a vision tower and a language model, both pretrained, into a LLaVA to train DFA-GPT on."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.bases.assemble import assemble as run

        run(vision, language, output, image_size=image_size, seed=seed)


@app.command()
def teach(
    data: Annotated[Path, typer.Option(help="A dataset folder; its train split is seen.")],
    language: Annotated[str, typer.Option(help="A causal language model: a folder or a Hub id.")],
    output: Annotated[Path, typer.Option(help="A new folder for the LLaVA.")],
    patch: Annotated[int, typer.Option(min=1, help="Side of the vision tower's patches in pixels.")] = 14,
    steps: Annotated[int, typer.Option(min=1, help="Batches of 16 pictures that the tower sees.")] = 10000,
    more_steps: Annotated[int, typer.Option(min=1, help="Batches that the layers added to it see.")] = 2000,
) -> None:
    """Teach a new vision tower what was done to each patch of a face, and join it to a language model as a LLaVA."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.bases.teach import teach as run

        run(data, language, output, patch=patch, steps=steps, more_steps=more_steps)


@app.command()
def probe(
    base: Annotated[str, typer.Argument(help="A LLaVA: a folder or a Hub id.")],
    data: Annotated[Path, typer.Option(help="A dataset folder.")],
) -> None:
    """Say how much of a forgery a LLaVA's vision tower shows, by a logistic regression on its patches."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.bases.tower_probe import probe as run

        run(base, data)


@app.command()
def pretrain(
    data: Annotated[Path, typer.Option(help="The dataset folder of recipes/dfa-gpt-tiny/dfa-instruct.yaml.")],
    output: Annotated[Path, typer.Option(help="A new folder for the base.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the weights and the order.")] = 0,
) -> None:
    """Make anew the tiny base that this package carries: its vision tower, its projector, its language model."""
    with one_line_errors(OSError, ValueError, subprocess.CalledProcessError):
        from modeling_dfa_gpt.bases.tiny import pretrain as run

        run(data, output, seed)


@app.command()
def describe(
    recipe: Annotated[Path, typer.Argument(help="A training recipe.")],
) -> None:
    """Say what a training will take, without its weights: parameters, tokens, memory, FLOPs, hours."""
    with one_line_errors(OSError, ValueError):
        from modeling_dfa_gpt.estimate import describe as run

        run(recipe)
