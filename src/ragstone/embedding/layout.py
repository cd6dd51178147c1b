"""What the files in a model's folder say of it, in the layout of sentence-transformers.

config.json and tokenizer.json, the weights as model.safetensors or onnx/model.onnx, and, where there is no entry in
the list: 1_Pooling/config.json, sentence_bert_config.json (the token limit), config_sentence_transformers.json (the
prefixes) and modules.json (the steps after the encoder).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ragstone.embedding.model_list import LocalModel, Origin, Pooling
from ragstone.errors import ModelError

CONFIG, TOKENIZER, SAFETENSORS = "config.json", "tokenizer.json", "model.safetensors"
ONNX = ("onnx/model.onnx", "model.onnx")
MODULES, POOLING = "modules.json", "1_Pooling/config.json"
LIMITS, PROMPTS = "sentence_bert_config.json", "config_sentence_transformers.json"

_STEPS = {"Transformer", "Pooling", "Normalize"}
_MODE = re.compile("^pooling_mode_|_tokens?$")
_FIRST_POSITION = {"roberta": 2, "xlm-roberta": 2, "camembert": 2}
"""Position embeddings that these architectures leave unused."""


def needed(paths: Collection[str], config: Mapping[str, Any], place: str) -> list[str]:
    """Of the paths that there are, those of the model: its description and one form of its weights.

    Raises ModelError when something is missing; `place` is named in it.
    """
    if absent := {CONFIG, TOKENIZER} - set(paths):
        raise ModelError(f"there is no {' and no '.join(sorted(absent))} in {place}", hint="see docs/models.md")
    weights = _weights(paths, config, place)
    return [CONFIG, TOKENIZER, *(path for path in (MODULES, POOLING, LIMITS, PROMPTS) if path in paths), *weights]


def read_json(path: Path) -> dict[str, Any]:
    """Raises ModelError when it cannot be read or is not an object."""
    value = _parsed(path)
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object")
    return value


def described(name: str, folder: Path, files_from: Origin) -> LocalModel:
    """The model in a folder that is not in the list. Raises ModelError."""
    config = read_json(folder / CONFIG)
    _refuse_unknown_steps(folder)
    prompts = _optional(folder, PROMPTS).get("prompts") or {}
    return LocalModel(
        name=name,
        dimensions=_number(config, folder, "hidden_size", "n_embd", "dim"),
        max_tokens=_max_tokens(config, folder),
        pooling=_pooling(folder),
        query_prefix=prompts.get("query") or "",
        document_prefix=prompts.get("document") or prompts.get("passage") or "",
        licence="",
        files_from=files_from,
    )


def _weights(paths: Collection[str], config: Mapping[str, Any], place: str) -> list[str]:
    if SAFETENSORS in paths and config.get("model_type") == "bert":
        return [SAFETENSORS]
    for path in ONNX:
        if path in paths:
            return [path, *(part for part in (f"{path}_data", f"{path}.data") if part in paths)]
    raise ModelError(
        f"there are no weights that can be run in {place}",
        hint=f"a BERT as {SAFETENSORS}, or any encoder as onnx/model.onnx (`optimum-cli export onnx` makes one)",
    )


def _optional(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / name) if (folder / name).is_file() else {}


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}", hint="see docs/models.md") from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from None


def _refuse_unknown_steps(folder: Path) -> None:
    path = folder / MODULES
    if not path.is_file():
        return
    try:
        steps = {step["type"].rpartition(".")[2] for step in _parsed(path)}
    except (TypeError, KeyError, AttributeError):
        raise ModelError(f"{path} is not a list of steps") from None
    if unknown := steps - _STEPS:
        raise ModelError(f"the model in {folder} has steps that are not known: {', '.join(sorted(unknown))}")


def _pooling(folder: Path) -> Pooling:
    """Each mode has a key of its own; newer versions write one key with the mode's name."""
    config = _optional(folder, POOLING)
    modes = {_MODE.sub("", key) for key, chosen in config.items() if key.startswith("pooling_mode_") and chosen}
    modes |= {config["pooling_mode"]} if "pooling_mode" in config else set()
    if modes == {"mean"}:
        return "mean"
    if modes == {"cls"}:
        return "cls"
    raise ModelError(
        f"{POOLING} in {folder} does not say mean or CLS pooling",
        hint='write one: {"pooling_mode_mean_tokens": true} or {"pooling_mode_cls_token": true}',
    )


def _max_tokens(config: Mapping[str, Any], folder: Path) -> int:
    positions = _number(config, folder, "max_position_embeddings", "n_positions")
    positions -= _FIRST_POSITION.get(str(config.get("model_type")), 0)
    stated = _optional(folder, LIMITS).get("max_seq_length")
    return min(positions, stated) if isinstance(stated, int) else positions


def _number(config: Mapping[str, Any], folder: Path, *names: str) -> int:
    for name in names:
        if isinstance(value := config.get(name), int):
            return value
    raise ModelError(f"{folder / CONFIG} does not say {' or '.join(names)}")
