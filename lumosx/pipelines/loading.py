"""Opens a checkpoint strictly: a wrong path, a missing tensor or a pickle is an error, never random weights.

A velocity model's folder names diffusers' `WanTransformer3DModel`, because a LumosX checkpoint is a Wan
checkpoint and stock pipelines should load it; here our class takes its place. What only we can run is named
`["lumosx", class]`.
"""

from collections.abc import Mapping
from typing import Any

import lumosx
from lumosx.errors import InputError

STOCK_TRANSFORMER = ["diffusers", "WanTransformer3DModel"]


def importable_classes(index: Mapping[str, Any]) -> dict[str, Any]:
    """`model_index.json` as diffusers can load it: our transformer for Wan's, our classes by their module.

    Raises:
        InputError: a class of ours that does not exist.
    """
    loadable = dict(index)
    if list(loadable.get("transformer") or ()) == STOCK_TRANSFORMER:
        loadable["transformer"] = ["lumosx", "LumosXTransformer3DModel"]
    for name, entry in loadable.items():
        if isinstance(entry, list | tuple) and len(entry) == 2 and entry[0] == "lumosx":
            if entry[1] not in lumosx.__all__:
                raise InputError(f"model_index.json names lumosx.{entry[1]} for {name}, which does not exist")
            # diffusers finds the loading method of a class through the module that defines it
            loadable[name] = [getattr(lumosx, entry[1]).__module__, entry[1]]
    return loadable


def portable_classes(index: Mapping[str, Any], prediction: str) -> dict[str, Any]:
    """`model_index.json` as saved: public names, and Wan's for a transformer that stock pipelines can run."""
    written = {name: value for name, value in index.items() if name != "_name_or_path"}
    for name, entry in written.items():
        if isinstance(entry, list | tuple) and len(entry) == 2 and str(entry[0]).startswith("lumosx."):
            written[name] = ["lumosx", entry[1]]
    if prediction == "velocity":
        written["transformer"] = STOCK_TRANSFORMER
    return written
