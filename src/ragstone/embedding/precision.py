"""How exactly a local model computes, and which way suits this CPU."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Literal

Precision = Literal["int8", "int7", "fp32"]
"""int8: 8-bit weights and activations. int7: the same with 7-bit weights. fp32: as trained."""

_X86_DOT_PRODUCTS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


@cache
def best_precision() -> Precision:
    """int8 where the CPU multiplies 8-bit integers into 32-bit sums, else int7.

    Older x86 adds pairs of 8-bit products in 16 bits and silently saturates; 7-bit weights cannot overflow there.
    """
    if platform.machine().lower() in {"arm64", "aarch64"}:  # unpaired products there, with or without asimddp
        return "int8"
    return "int8" if _X86_DOT_PRODUCTS & _x86_flags() else "int7"


def _x86_flags() -> frozenset[str]:
    """The CPU's feature flags as Linux names them; none where they cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())
