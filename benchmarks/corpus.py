"""Real English text that every machine with Python has: the docstrings of the standard library."""

from __future__ import annotations

import ast
import platform
import sysconfig
from collections.abc import Iterator
from pathlib import Path


def write_corpus(folder: Path, documents: int) -> int:
    """Write up to so many Markdown documents, one a module: its docstrings under headings. Returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, text in _modules():
        if written == documents:
            break
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
        written += 1
    return written


def _modules() -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if "site-packages" in relative.parts or "test" in relative.parts:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        name = ".".join(relative.with_suffix("").parts)
        text = "\n\n".join([f"# {name}", *_docstrings(tree)])
        if len(text) > 400:
            yield name, text


def _docstrings(tree: ast.Module) -> Iterator[str]:
    if module := ast.get_docstring(tree):
        yield module
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)) and len(text) > 80:
            yield f"## {node.name}\n\n{text}"


def machine() -> str:
    """The machine's name for the head of every report."""
    model = platform.processor() or platform.machine()
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = next(line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    import os

    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
