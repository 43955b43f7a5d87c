"""Images of a study by name, as the network gets them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from monai_robustinterp.bundle import SaliencyBundle


def prepared(bundle: SaliencyBundle, path: str | Path) -> torch.Tensor:
    """The network's input of one file, float [1, H, W]."""
    image: torch.Tensor = bundle.preprocessing({"image": str(path)})["image"].as_tensor()
    return image


def prepared_by_name(bundle: SaliencyBundle, paths: Iterable[Path]) -> dict[str, torch.Tensor]:
    """The same of several files, by file name up to the first point, in their order."""
    return {path.name.partition(".")[0]: prepared(bundle, path) for path in paths}
