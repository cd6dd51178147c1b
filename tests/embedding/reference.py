"""BERT a second time, in plain NumPy and float64, written from the paper: what the ONNX graph is checked against."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

Array = npt.NDArray[Any]


class Bert:
    """The model in a folder, as safetensors and config.json."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = {
            name: array.astype(np.float64) for name, array in load_file(folder / "model.safetensors").items()
        }

    def embed(self, ids: Sequence[int]) -> dict[str, Array]:
        """The vector by each kind of pooling."""
        table = "embeddings.{}_embeddings.weight"
        x = self.weights[table.format("word")][list(ids)]
        x = x + self.weights[table.format("position")][: len(ids)] + self.weights[table.format("token_type")][0]
        x = self.norm("embeddings.LayerNorm", x)
        for number in range(self.config["num_hidden_layers"]):
            layer = f"encoder.layer.{number}."
            x = self.norm(f"{layer}attention.output.LayerNorm", x + self.attention(f"{layer}attention.", x))
            inner = self.linear(f"{layer}intermediate.dense", x)
            gelu = inner * (1 + erf(inner / sqrt(2))) / 2
            x = self.norm(f"{layer}output.LayerNorm", x + self.linear(f"{layer}output.dense", gelu))
        pooled = {"mean": x.mean(0), "cls": x[0]}
        return {name: vector / np.linalg.norm(vector) for name, vector in pooled.items()}

    def attention(self, name: str, x: Array) -> Array:
        heads = self.config["num_attention_heads"]
        query, key, value = (
            self.linear(f"{name}self.{part}", x).reshape(len(x), heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.swapaxes(1, 2) / sqrt(query.shape[-1]))
        mixed = scores / scores.sum(-1, keepdims=True) @ value
        return self.linear(f"{name}output.dense", mixed.swapaxes(0, 1).reshape(len(x), -1))

    def linear(self, name: str, x: Array) -> Array:
        return np.asarray(x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"])

    def norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + self.config["layer_norm_eps"])
        return np.asarray(scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"])


def erf(x: Array) -> Array:
    """The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(np.sign(x) * (1 - polynomial * np.exp(-(x**2))))
