"""What optimized masks do to the other findings: the distortion that ``robust_perturbation`` is made to prevent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from monai_robustinterp import SaliencyBundle
from monai_robustinterp.interpreters import explaining, make_interpreter
from monai_robustinterp.interpreters.mask_optimization import MaskInterpreter

METHODS = ("meaningful_perturbation", "robust_perturbation")


def measure(bundle: SaliencyBundle, images: Mapping[str, torch.Tensor]) -> list[dict[str, Any]]:
    """A row a method and image, for the finding with the highest logit.

    Args:
        bundle: of independent findings.
        images: float [1, H, W] each, preprocessed, by name.

    Returns:
        Scores in [0, 1] of the target and means over the other findings, at the image, at the perturbed and at the
        reversed one; ``others_change`` is the mean of the others' absolute changes from image to perturbed image.
    """
    rows = []
    for name in METHODS:
        interpreter = make_interpreter(name, known=bundle.interpreter_arguments)
        assert isinstance(interpreter, MaskInterpreter)
        for image_name, image in images.items():
            rows.append({"method": name, "image": image_name, **_scores(bundle, interpreter, image)})
            print(f"  {rows[-1]}", flush=True)
    return rows


def _scores(bundle: SaliencyBundle, interpreter: MaskInterpreter, image: torch.Tensor) -> dict[str, float]:
    network, scores = bundle.network, bundle.inferer.recipe.findings.scores
    with explaining(network):
        with torch.no_grad():
            logits = network(image[None])
        target = int(logits.argmax())
        run = interpreter.optimize(network, image[None].clone(), target, snapshots=[interpreter.n_steps])
    (last,) = run.snapshots
    clean, perturbed, reversed_ = (scores(x[0].numpy()) for x in (logits, last.perturbed, last.reversed))
    others = np.arange(len(clean)) != target
    return {
        "target": float(clean[target]),
        "target_perturbed": float(perturbed[target]),
        "target_reversed": float(reversed_[target]),
        "others": float(clean[others].mean()),
        "others_change": float(np.abs(perturbed - clean)[others].mean()),
        "others_reversed": float(reversed_[others].mean()),
        "removed": float(1 - last.masks.mean()),
    }
