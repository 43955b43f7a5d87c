"""What optimized masks do to the other findings: the distortion that ``robust_perturbation`` is made to prevent."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.interpreters.plan import Method, Plan
from monai_robustinterp import SaliencyBundle
from monai_robustinterp.interpreters import Interpreter, make_interpreter
from monai_robustinterp.interpreters.mask_optimization import MaskInterpreter
from monai_robustinterp.metrics.distortion import class_distortion
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.study.rows import Cell, kept_rows
from monai_robustinterp.study.settings import versions


def measure(
    bundle: SaliencyBundle, images: Mapping[str, torch.Tensor], plan: Plan, folder: Path, *, workers: int = 1
) -> list[dict[str, Any]]:
    """A row a method and image; those that an earlier run left in the folder are not repeated.

    Args:
        bundle: of independent findings.
        images: float [1, H, W] each, preprocessed, by name.
        plan: the methods.
        folder: of the rows.
        workers: processes.
    """
    cells = [_cell(bundle, method, name, image) for method in plan.masks for name, image in images.items()]
    found = kept_rows(folder, "distortion", cells, workers=workers)
    return [{**cell.labels, **row} for cell, row in zip(cells, found)]


def _cell(bundle: SaliencyBundle, method: Method, name: str, image: torch.Tensor) -> Cell:
    interpreter = make_interpreter(method.name, known=bundle.interpreter_arguments, settings=method.settings)
    settings = {
        "interpreter": interpreter.name,
        "interpreter_settings": interpreter.settings,
        "image_sha256": image_sha256(image),
        "weights_sha256": bundle.files["weights_sha256"],
        **versions(),
    }
    return Cell(
        name=f"{method.slug}-{name}",
        labels={"method": method.label, "image": name},
        settings=settings,
        make=partial(_row, bundle, interpreter, image),
    )


def _row(bundle: SaliencyBundle, interpreter: Interpreter, image: torch.Tensor) -> dict[str, Any]:
    assert isinstance(interpreter, MaskInterpreter)
    scores = bundle.inferer.recipe.findings.scores
    return dataclasses.asdict(class_distortion(bundle.network, interpreter, image, scores))
