"""Push a model to the Hub: an adapter whose base is on the Hub, a merged model, or a complete model."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any, Final

from dfa_instruct.hub import CARD, check_repo, check_token, explain_hub_errors, show, token_for_pushing
from dfa_instruct.hub import push as push_files
from dfa_instruct.vlm.load import ADAPTER_CONFIG, check_loadable
from modeling_dfa_gpt.calibration import CALIBRATION_FILE
from modeling_dfa_gpt.checkpoints import RUN_FILE
from modeling_dfa_gpt.dfa_gpt import merge
from modeling_dfa_gpt.domain import DOMAIN_FILE
from modeling_dfa_gpt.forgery_map import MAP_FILE
from modeling_dfa_gpt.hub.card import RESULTS_FILE, Base, licence_of, model_card

OURS: Final = re.compile(
    r"(adapter_)?config\.json|(adapter_)?model(-\d{5}-of-\d{5})?\.safetensors|model\.safetensors\.index\.json"
    r"|generation_config\.json|(pre)?processor_config\.json|chat_template\.jinja"
    r"|tokenizer(_config)?\.(json|model)|special_tokens_map\.json|added_tokens\.json|vocab\.json|merges\.txt"
    rf"|{re.escape(CALIBRATION_FILE)}|{re.escape(DOMAIN_FILE)}|{re.escape(MAP_FILE)}|{re.escape(RESULTS_FILE)}"
)
"""The files of a model that are pushed. The others in its folder, such as `run.json`, may contain local paths."""


def push(
    folder: Path,
    repo: str,
    *,
    merged: bool = False,
    base: str | None = None,
    results: Path | None = None,
    private: bool = False,
    revision: str | None = None,
    dry_run: bool = False,
) -> None:
    """Push a model's folder, or print what would be pushed.

    Others can use an adapter only with its base. If the base is a local folder, `base` must be the Hub id of a copy
    of it, unless `merged` is set. The weights of the copy are compared with the local ones.

    Args:
        folder: Folder of an adapter, or of a complete model with its own card (README.md).
        repo: Hub id of the repository (USER/NAME).
        merged: Merge the adapter into its base and push the merged model.
        base: Hub id of the adapter's base.
        results: The `results.json` of DFA-Bench. By default, the one in the folder, if it exists.
        private: Whether to create a private repository.
        revision: A branch. By default main.
        dry_run: Print the card and the files instead of pushing them. This needs no token.

    Raises:
        FileNotFoundError: The model, its base, the results or the card does not exist.
        ValueError: Others could not load the model, its base on the Hub differs, or see `dfa_instruct.hub.push`.
        OSError: See `dfa_instruct.hub.push`.
    """
    check_repo(repo)
    if base:
        check_repo(base)
    check_loadable(folder, ask_hub=False)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if not dry_run:
        check_token(repo)

    with tempfile.TemporaryDirectory(prefix="dfa-gpt-") as scratch:
        if (folder / ADAPTER_CONFIG).is_file():
            if base and not dry_run:
                _check_same_weights(folder, base)
            files = _adapter_files(folder, repo, base, results, Path(scratch) / "merged" if merged else None)
        elif merged or base or results:
            raise ValueError(f"{folder}: a complete model; --merged, --base and --results are for adapters only")
        elif not (folder / CARD).is_file():
            raise FileNotFoundError(
                f"{folder / CARD}: no such file; write a card that describes the model and its licence "
                "(dfa-gpt push ADAPTER USER/NAME --merged writes the card of a merged adapter)"
            )
        else:
            files = {**_model_files(folder), CARD: folder / CARD}
        if dry_run:
            show(files)
        else:
            print(push_files(repo, "model", files, OURS, private=private, revision=revision))


def _model_files(model: Path) -> dict[str, Path | bytes]:
    return {path.name: path for path in sorted(model.iterdir()) if OURS.fullmatch(path.name)}


def _adapter_files(
    folder: Path, repo: str, base: str | None, results: Path | None, merged: Path | None
) -> dict[str, Path | bytes]:
    """Return the files to push for an adapter or, if a new folder `merged` is given, for the merged model."""
    config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    trained_on = _base(folder, config["base_model_name_or_path"], base, merged is not None)
    measured = _results(folder, results)
    card = model_card(folder, trained_on, measured, repo=repo, merged=merged is not None)
    files: dict[str, Path | bytes] = {CARD: str(card).encode()}
    if measured:
        files[RESULTS_FILE] = results or folder / RESULTS_FILE
    if merged:
        merge(folder, merged)
        return {**_model_files(merged), **files}
    config["base_model_name_or_path"] = trained_on.hub_id
    return {**_model_files(folder), **files, ADAPTER_CONFIG: json.dumps(config, indent=2, sort_keys=True).encode()}


def _base(folder: Path, named: str, base: str | None, merged: bool) -> Base:
    """Return the base of an adapter, with a name that others can use."""
    run = folder / RUN_FILE
    trained = json.loads(run.read_text(encoding="utf-8"))["base"] if run.is_file() else {}
    local = Path(named).is_dir() or (trained.get("name") == named and trained.get("commit") is None)
    if local and not base and not merged:
        raise ValueError(
            f"{folder}: its base is the folder {named}, which others do not have; push the base too (dfa-gpt push "
            f"{named} USER/NAME) and name it with --base USER/NAME, or push the merged model (--merged)"
        )
    if base and not local and base != named:
        raise ValueError(f"{folder}: its base is {named} on the Hub, not {base}")
    hub_id = base or (None if local else named)
    name = f"`{hub_id}`" if hub_id else "a base that is not on the Hub"
    return Base(name, hub_id, licence_of(named))


def _check_same_weights(adapter: Path, repo: str) -> None:
    """Raise ValueError if the weights of the local base differ from those on the Hub."""
    from huggingface_hub import HfApi

    config = json.loads((adapter / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    folder, here = Path(config["base_model_name_or_path"]), {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            here[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    with explain_hub_errors(f"--base {repo}"):
        files = HfApi(token=token_for_pushing()).model_info(repo, files_metadata=True).siblings or ()
    there = {file.rfilename: file.lfs.sha256 for file in files if file.lfs and file.rfilename in here}
    if there != here:
        raise ValueError(f"--base {repo}: its weights on the Hub differ from those of the adapter's base, {folder}")


def _results(folder: Path, results: Path | None) -> dict[str, Any] | None:
    """Read the results of DFA-Bench, if they exist."""
    file = results or folder / RESULTS_FILE
    if not results and not file.is_file():
        return None
    try:
        measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if not {"tasks", "details", "counts"} <= set(measured):
            raise ValueError("no tasks, details and counts")
    except ValueError as error:
        raise ValueError(f"{file}: expected the results.json of dfa-instruct bench: {error}") from error
    return measured
