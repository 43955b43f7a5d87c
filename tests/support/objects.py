"""Results of synthetic films with a map on their pixels, for tests of what is written of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_robustinterp import ChestXRayReader, SaliencyBundle, load_bundle
from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.io.read.display import display_gray
from tests.support.bundles import OPACITY
from tests.support.networks import TinyClassifier
from tests.support.records import make_masks, make_record, make_run

OBJECTS = ("pm", "seg", "sr", "pseudocolor", "gsps")


def small_bundle(**overrides: object) -> SaliencyBundle:
    """The default bundle with a small network and few copies."""
    bundle = load_bundle(OPACITY, overrides={"n_samples": 8, "device": "$torch.device('cpu')", **overrides})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle.network = TinyClassifier(classes=2).eval()
    return bundle


def picture_of_file(path: Path, *, lungs: bool = True) -> Picture:
    """A film with random vote shares on square blocks, a top-k set and lungs."""
    pixels, meta = ChestXRayReader().get_data(path)
    rows, columns = pixels.shape[1:]
    side = max(8, rows // 16)
    coarse = np.random.default_rng(0).random((-(-rows // side), -(-columns // side)), dtype=np.float32)
    share = coarse.repeat(side, axis=0).repeat(side, axis=1)[:rows, :columns]
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    ellipses = [((x - center) / 0.3) ** 2 + (y / 0.6) ** 2 < 1 for center in (-0.45, 0.45)]
    return Picture(
        share=share,
        top_k_mask=share > 0.85,
        gray=display_gray(pixels, meta),
        meta=meta,
        lungs=ellipses[0] | ellipses[1] if lungs else None,
    )


def record_with_lungs(**changes: Any) -> dict[str, Any]:
    """A record with everything that a report tells of."""
    votes, spec = make_run(make_masks(), lungs=np.arange(16) < 8, sigma=0.25)
    return make_record(votes, spec, **changes)
