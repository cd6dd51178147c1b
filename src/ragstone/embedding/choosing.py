"""From the name in the settings to a model: one of the list, one of a hub, or a folder."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from ragstone.embedding.files import locate
from ragstone.embedding.layout import described
from ragstone.embedding.model_list import Folder, Hub, LocalModel, Origin, Package, local_model, local_models
from ragstone.errors import SettingsError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def origin_of(name: str, revision: str = "") -> Origin:
    """Where the files of the model come from. Raises SettingsError for a name that is none of the three kinds."""
    if name.startswith((".", "/", "~")):
        return Folder(model=name, path=Path(name).expanduser().absolute())
    if listed := local_model(name):
        return _at(listed.files_from, revision)
    if not _HUB_ID.fullmatch(name):
        known = ", ".join(model.name for model in local_models())
        raise SettingsError(
            f"no local embedding model is called {name}", hint=f"owner/name of a hub, a ./folder, or one of {known}"
        )
    if not revision:
        raise SettingsError(
            f"the model {name} of a hub needs a revision", hint="set embedding.revision to a commit, a tag or a branch"
        )
    return Hub(model=name, id=name, revision=revision)


def choose(
    name: str, revision: str, cache_dir: Path, *, query_prefix: str | None = None, document_prefix: str | None = None
) -> LocalModel:
    """The model, with the prefixes given in place of its own. Of one that is not listed the files must be there.

    Raises SettingsError or ModelError.
    """
    origin = origin_of(name, revision)
    listed = local_model(name)
    model = replace(listed, files_from=origin) if listed else described(name, locate(origin, cache_dir), origin)
    return replace(
        model,
        query_prefix=model.query_prefix if query_prefix is None else query_prefix,
        document_prefix=model.document_prefix if document_prefix is None else document_prefix,
    )


def _at(origin: Origin, revision: str) -> Origin:
    """The listed origin, or another revision of it, of which no hash is known beforehand."""
    if isinstance(origin, Package) and revision:
        raise SettingsError(f"the model {origin.model} comes from a package, of one version", hint="unset its revision")
    if isinstance(origin, Hub) and revision not in {"", origin.revision}:
        return Hub(model=origin.model, id=origin.id, revision=revision)
    return origin
