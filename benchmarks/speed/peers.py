"""Where zennit comes from: the bench environment only."""

from __future__ import annotations

import importlib.util
from types import ModuleType


def zennit_attribution() -> ModuleType:
    """The module ``zennit.attribution``.

    It is loaded from its file: the package imports torchvision, which the project does not have, and the attributors
    need nothing of it.

    Raises:
        ImportError: if zennit is not there.
    """
    package = importlib.util.find_spec("zennit")
    if package is None or not package.submodule_search_locations:
        raise ImportError("zennit is not installed: `make bench` puts it into bench_peers/, outside of the project.")
    path = f"{package.submodule_search_locations[0]}/attribution.py"
    spec = importlib.util.spec_from_file_location("zennit_attribution", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def left_out() -> dict[str, str]:
    """Contenders that cannot run here, and why."""
    try:
        zennit_attribution()
    except (ImportError, OSError) as error:
        return {"zennit": f"{type(error).__name__}: {error}"}
    return {}
