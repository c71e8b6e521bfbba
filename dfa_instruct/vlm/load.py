"""Loading a vision-language model by its name, for chat, analysis, calibration and the benchmark.

Models come from strangers: weights are read as safetensors only, their code is not run, and errors name the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

SERVER_PREFIX: Final = "openai:"
"""The start of the name of a model at an OpenAI-compatible server, see `dfa_instruct.vlm.endpoint`."""
ADAPTER_CONFIG: Final = "adapter_config.json"
"""The file that distinguishes an adapter's folder from a whole model's."""
HUB_SECONDS: Final = 3.0
"""The time limit for asking the Hub whether a model exists. Transformers itself would try for minutes."""
VLMS_EXTRA: Final = ("num2words", "torchvision")
"""Packages that some models' processors need, and that the extra `vlms` installs."""
_NEEDED: Final = re.compile(r"requires? the (\w+) library|requires? `(\w+)`|[Pp]ackage `(\w+)` is required")
"""Transformers' messages about a missing package."""


@contextmanager
def naming(name: str | Path) -> Iterator[None]:
    """Turn any error in the `with` block into an OSError or ValueError that names the model.

    Transformers and PEFT may raise any exception for broken files.
    """
    from safetensors import SafetensorError

    try:
        yield
    except Exception as error:
        if package := _missing_package(error):
            extra = " (or 'dfa-instruct[vlms]')" if package in VLMS_EXTRA else ""
            raise ValueError(
                f"{name}: needs {package}, which is not installed: pip install {package}{extra}"
            ) from error
        if isinstance(error, OSError | SafetensorError):
            raise OSError(f"{name}: {error}") from error
        if isinstance(error, json.JSONDecodeError):
            raise ValueError(f"{name}: one of its JSON files cannot be read: {error}") from error
        if isinstance(error, ValueError):
            raise error if str(name) in str(error) else ValueError(f"{name}: {error}") from error
        raise ValueError(f"{name}: cannot be loaded ({type(error).__name__}: {error})") from error


def _missing_package(error: Exception) -> str | None:
    """Return the package whose absence caused an error; None if no missing package caused it."""
    found = _NEEDED.search(str(error))
    package = getattr(error, "name", None) or (found and next(filter(None, found.groups())).lower())
    missing = isinstance(error, ImportError | ValueError) and package and find_spec(package) is None
    return package if missing else None


def is_model(name: str | Path) -> bool:
    """Return whether a name is a model's folder, or may be a Hub id."""
    folder = Path(name)
    if folder.is_dir():
        return any((folder / file).is_file() for file in ("config.json", ADAPTER_CONFIG))
    return not folder.exists() and str(name).count("/") == 1 and not str(name).startswith((".", "/", "~"))


def check_loadable(name: str | Path, ask_hub: bool = True) -> None:
    """Check that a model, and the base of an adapter, exists and has safetensors; a pickle could run any code.

    Args:
        name: A folder of a model or of an adapter, or a Hub id.
        ask_hub: Whether to check that the Hub knows a Hub id.

    Raises:
        FileNotFoundError: The model, or the base that an adapter names, does not exist.
        ConnectionError: The model is not in the cache, and the Hub cannot be reached.
        ValueError: There are no safetensors, or the adapter's configuration cannot be read.
    """
    if not is_model(name):
        raise FileNotFoundError(f"{name}: no such model (expected a folder of a model or of an adapter, or a Hub id)")
    folder = Path(name)
    if not folder.is_dir():
        if ask_hub:
            check_on_hub(str(name))
        return
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{name}: the folder has no safetensors; pickles (.bin, .pt) are not loaded")
    if (folder / ADAPTER_CONFIG).is_file():
        with naming(name):
            base = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
            if not isinstance(base, str):
                raise ValueError(f"base_model_name_or_path: expected a model's folder or Hub id, not {base!r}")
        if not is_model(base):
            raise FileNotFoundError(f"{name}: its base model {base} is not there")
        if (Path(base) / ADAPTER_CONFIG).is_file():
            raise ValueError(f"{name}: its base model {base} is an adapter; expected a whole model")
        check_loadable(base, ask_hub)


@cache
def check_on_hub(name: str) -> None:
    """Check that a Hub id is in the cache or on the Hub.

    Raises:
        FileNotFoundError: The Hub has no such model, or it is private.
        ConnectionError: The Hub cannot be reached.
    """
    import httpx
    from huggingface_hub import model_info, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        cached = [try_to_load_from_cache(name, file) for file in ("config.json", ADAPTER_CONFIG)]
        if not any(isinstance(path, str) for path in cached):
            model_info(name, timeout=HUB_SECONDS)
    except (HFValidationError, RepositoryNotFoundError):
        raise FileNotFoundError(
            f"{name}: no such folder, and no such model on the Hub (or a private one: set HF_TOKEN)"
        ) from None
    except (httpx.HTTPError, OSError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConnectionError(f"{name}: no such folder, and the Hub cannot be asked for it: {reason}") from None


def best_device() -> torch.device:
    """Return the GPU that `accelerate` assigns to this process, or the CPU if there is none."""
    from accelerate import PartialState

    return PartialState().device


def dtype_on(device: torch.device) -> torch.dtype:
    """Return the dtype that a model computes in: bfloat16 on a GPU, float32 elsewhere."""
    import torch

    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_config(name: str | Path) -> Any:
    """Load the configuration of a model, or of an adapter's base, after `load_processor` has checked the name.

    Raises:
        OSError, ValueError: The files cannot be read.
    """
    from peft import PeftConfig
    from transformers import AutoConfig
    from transformers.utils.peft_utils import find_adapter_config_file

    with naming(name):
        if find_adapter_config_file(str(name)):
            return AutoConfig.from_pretrained(str(PeftConfig.from_pretrained(str(name)).base_model_name_or_path))
        return AutoConfig.from_pretrained(name)


def load_processor(name: str | Path) -> Any:
    """Check a model (see `check_loadable`) and load its processor.

    Raises:
        OSError: The model does not exist, or the Hub cannot be reached.
        ValueError: The model takes no images, has no chat template, needs a package that is not installed, or has an
            invalid file.
    """
    check_loadable(name)  # before the import, which takes seconds

    from transformers import AutoProcessor

    with naming(name):
        processor = AutoProcessor.from_pretrained(name)
        if not hasattr(processor, "image_processor"):
            raise ValueError("it takes no images; expected a vision-language model")
        if not processor.chat_template:
            raise ValueError("it has no chat template, so it cannot converse; expected an instruction-tuned model")
    return processor


def optional_file(name: str | Path, file: str) -> Path | None:
    """Return the path of a file in a model's folder or Hub repository, or None if there is none."""
    from transformers.utils import cached_file

    found = cached_file(
        str(name),
        file,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


@contextmanager
def _without_loading_bar() -> Iterator[None]:
    """Hide Transformers' progress bar for loading weights, but not the Hub's bars for downloads."""
    from transformers.utils import logging

    previous = logging.set_tqdm_hook(lambda bar, values, options: bar(*values, **{**options, "disable": True}))
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)


def load_model(name: str | Path, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Any:
    """Load a model, or an adapter with its base, for inference.

    Args:
        name: A folder or Hub id that `load_processor` has checked.
        device: The device. None: see `best_device`.
        dtype: The dtype of the weights. None: see `dtype_on`.

    Raises:
        OSError: The weights cannot be read.
        ValueError: Weights are missing, or a file is invalid.
    """
    from transformers import AutoModelForImageTextToText

    device = device or best_device()
    with naming(name), _without_loading_bar():
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            name, dtype=dtype or dtype_on(device), use_safetensors=True, output_loading_info=True
        )
        model, info = loaded
        if missing := sorted(info["missing_keys"]):
            raise ValueError(f"{len(missing)} of the model's weights are missing, the first is {missing[0]}")
        return model.to(device).eval()
