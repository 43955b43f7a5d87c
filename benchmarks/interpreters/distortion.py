"""What optimized masks do to the other findings: the distortion that ``robust_perturbation`` is made to prevent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import monai_robustinterp
from benchmarks.interpreters.plan import Method, Plan
from monai_robustinterp import SaliencyBundle
from monai_robustinterp.interpreters import make_interpreter
from monai_robustinterp.interpreters.mask_optimization import MaskInterpreter
from monai_robustinterp.metrics.distortion import class_distortion
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.study.store import kept_json


def measure(
    bundle: SaliencyBundle, images: Mapping[str, torch.Tensor], plan: Plan, folder: Path
) -> list[dict[str, Any]]:
    """A row a method and image; those that an earlier run left in the folder are not repeated.

    Args:
        bundle: of independent findings.
        images: float [1, H, W] each, preprocessed, by name.
        plan: the methods.
        folder: of the rows.
    """
    return [
        {"method": method.label, "image": name, **_row(bundle, method, name, image, folder)}
        for method in plan.masks
        for name, image in images.items()
    ]


def _row(bundle: SaliencyBundle, method: Method, name: str, image: torch.Tensor, folder: Path) -> dict[str, Any]:
    interpreter = make_interpreter(method.name, known=bundle.interpreter_arguments, settings=method.settings)
    assert isinstance(interpreter, MaskInterpreter)
    settings = {
        "interpreter": interpreter.name,
        "interpreter_settings": interpreter.settings,
        "image_sha256": image_sha256(image),
        "weights_sha256": bundle.files["weights_sha256"],
        "versions": {"monai_robustinterp": monai_robustinterp.__version__, "torch": torch.__version__},
    }
    scores = bundle.inferer.recipe.findings.scores
    row: dict[str, Any] = kept_json(
        folder / f"distortion-{method.slug}-{name}.json",
        settings,
        lambda: dataclasses.asdict(class_distortion(bundle.network, interpreter, image, scores)),
    )
    print(f"  {method.label}, {name}: {row}", flush=True)
    return row
