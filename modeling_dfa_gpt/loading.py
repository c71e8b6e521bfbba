"""Models on disk: what is loaded and what is refused, errors that name the model, folders written whole."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(name: str | Path) -> Iterator[None]:
    """Name the model in an error of reading or writing it, which is raised as OSError or ValueError.

    Its files come from strangers, and Transformers and PEFT raise whatever these lead them to.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(f"{name}: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: a JSON file of it cannot be read: {error}") from error
    except ValueError as error:
        raise error if str(name) in str(error) else ValueError(f"{name}: {error}") from error
    except Exception as error:
        raise ValueError(f"{name}: cannot be loaded ({type(error).__name__}: {error})") from error


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """Give a folder to write that appears at `output` when all of it is there, or not at all.

    Raises:
        FileExistsError: the output holds something.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(f"{output} holds something already; name an empty or a new folder")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        made = Path(scratch) / "made"
        yield made
        made.rename(output)


def is_model(name: str | Path) -> bool:
    """Tell whether a name is a model's folder, or may be a Hub id."""
    folder = Path(name)
    if folder.is_dir():
        return any((folder / file).is_file() for file in ("config.json", "adapter_config.json"))
    return not folder.exists() and str(name).count("/") == 1 and not str(name).startswith((".", "/", "~"))


def check_loadable(name: str | Path) -> None:
    """Refuse what is not a model, what has its weights as a pickle, and an adapter whose base is not there.

    A pickle runs whatever code its author put in. Of a Hub id only the name is looked at here.

    Raises:
        FileNotFoundError: there is no such model, or not the base that an adapter names.
        ValueError: there are no safetensors, or the adapter's configuration cannot be read.
    """
    if not is_model(name):
        raise FileNotFoundError(f"{name}: no such model (expected an adapter's or a model's folder, or a Hub id)")
    folder = Path(name)
    if not folder.is_dir():
        return
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{name}: no weights as safetensors there; a pickle (.bin, .pt) is not loaded")
    if (folder / "adapter_config.json").is_file():
        with naming(name):
            base = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
            if not isinstance(base, str):
                raise ValueError(f"base_model_name_or_path: expected a model's folder or Hub id, not {base!r}")
        if not is_model(base):
            raise FileNotFoundError(f"{name}: its base model {base} is not there")
        if (Path(base) / "adapter_config.json").is_file():
            raise ValueError(f"{name}: its base model {base} is an adapter; expected a whole model")
        check_loadable(base)
