"""What the parts of a study depend on."""

from __future__ import annotations

from typing import Any

import torch

from monai_robustinterp._version import __version__
from monai_robustinterp.bundle import SaliencyBundle


def versions() -> dict[str, str]:
    """Those of the package and of torch, which every number depends on."""
    return {"monai_robustinterp": __version__, "torch": torch.__version__}


def bundle_settings(bundle: SaliencyBundle) -> dict[str, Any]:
    """What every row of a bundle depends on beside its overrides: files, denoiser, segmenter of the lungs, versions."""
    return {
        **bundle.files,
        "denoiser": bundle.inferer.recipe.spec(0).denoiser,
        "lungs": None if bundle.lungs is None else bundle.lungs.settings,
        **versions(),
    }
