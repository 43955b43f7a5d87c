"""Do our metrics and those of Quantus and scikit-image agree? ``python -m benchmarks.parity_quantus``.

Neither is a dependency: ``pip install quantus`` into an environment for this. Without it the script says so and ends.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.films import SAMPLES
from benchmarks.places import OPACITY
from monai_robustinterp import load_bundle
from monai_robustinterp.interpreters import explaining, make_interpreter
from monai_robustinterp.metrics.base import Array, Case
from monai_robustinterp.metrics.deletion import Deletion
from monai_robustinterp.metrics.mass import BoxMass
from monai_robustinterp.metrics.pointing_game import PointingGame
from monai_robustinterp.metrics.similarity import hog, ssim, unit_range
from monai_robustinterp.run.inputs import find_images
from monai_robustinterp.study.films import prepared
from monai_robustinterp.study.tables import table

TARGET = 1
_TOLERANCE = 1e-5


def cases() -> list[Case]:
    """One map, gradient, of each sample film; a box is drawn where the map's strongest pixel is or beside it."""
    bundle = load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"})
    method = make_interpreter("gradient", known=bundle.interpreter_arguments)

    def explain(network: torch.nn.Module, image: torch.Tensor) -> Array:
        with explaining(network):
            return method.attribute(network, image[None].clone(), TARGET).maps[0, 0].numpy().astype(np.float64)

    found = []
    films = [path for path in find_images([SAMPLES]).images if path.suffix == ".jpeg"]
    for number, path in enumerate(films):
        image = prepared(bundle, Path(path))
        saliency = explain(bundle.network, image)
        row, column = np.unravel_index(saliency.argmax(), saliency.shape)
        boxes = np.zeros(saliency.shape, dtype=bool)
        boxes[max(0, row - 9) : row + 9, max(0, column - 9) : column + 9] = True
        case = Case(
            network=bundle.network,
            image=image,
            target=TARGET,
            multi_label=False,
            saliency=saliency,
            explain=explain,
            top_k=saliency.size // 7,
            boxes=boxes if number % 2 else ~boxes,
        )
        found.append(case)
    return [dataclasses.replace(case, others=[other.saliency for other in found]) for case in found]


def compared(case: Case, quantus: Any, skimage: Any) -> Iterator[tuple[str, Array, Array]]:
    """Name of a metric, our values, and theirs."""
    asked = {
        "model": case.network,
        "x_batch": case.image[None].numpy(),
        "y_batch": np.array([case.target]),
        "a_batch": case.saliency[None, None],
        "channel_first": True,
        "softmax": True,
    }
    plain = {"abs": False, "normalise": False, "disable_warnings": True}
    step = case.image.shape[2]
    flipping = quantus.PixelFlipping(features_in_step=step, perturb_baseline=0.0, **plain)(**asked)
    shares, scores = Deletion(substrate="zero").curve(case)
    # They part equal pixels: what is compared is where both have taken as many.
    ends = np.rint(shares * case.saliency.size).astype(np.int64)
    whole = (ends > 0) & (ends % step == 0)
    yield "deletion, the curve (PixelFlipping)", scores[whole], np.asarray(flipping[0])[ends[whole] // step - 1]
    marked = asked | {"s_batch": case.boxes[None, None] if case.boxes is not None else None}
    mass = quantus.RelevanceMassAccuracy(**plain)(**marked)
    yield "box_mass (RelevanceMassAccuracy)", np.array([BoxMass().score(case)]), np.asarray(mass, dtype=float)
    points = quantus.PointingGame(**plain)(**marked)
    yield "pointing_game (PointingGame)", np.array([PointingGame().score(case)]), np.asarray(points, dtype=float)
    maps = [unit_range(one) for one in (case.saliency, case.others[0])]
    (_, full) = skimage.metrics.structural_similarity(
        *maps, data_range=1.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )
    yield "ssim (scikit-image, of all windows)", np.array([ssim(*maps)]), np.array([full.mean()])
    theirs = skimage.feature.hog(maps[0], pixels_per_cell=(9, 9))
    # They have the cells of a block before its orientations.
    ours = np.moveaxis(hog(maps[0]).reshape(-1, 9, 3, 3), 1, 3).ravel()
    yield "histograms of oriented gradients (scikit-image)", ours, theirs


def main() -> int:
    """Prints a table; 1 if a difference is above 1e-5."""
    try:
        quantus = importlib.import_module("quantus")
        skimage = importlib.import_module("skimage")
        for part in ("metrics", "feature"):
            importlib.import_module(f"skimage.{part}")
    except ImportError as error:
        print(f"skipped: {error}. Install quantus, which brings scikit-image, into an environment for this comparison.")
        return 0
    largest: dict[str, list[float]] = {}
    for case in cases():
        for name, ours, theirs in compared(case, quantus, skimage):
            largest.setdefault(name, []).append(float(np.abs(ours - theirs).max()))
    lines = [[name, str(len(values)), f"{max(values):.1e}"] for name, values in largest.items()]
    print("\n".join(table(["metric", "films", "largest difference"], lines)))
    return int(max(max(values) for values in largest.values()) > _TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
