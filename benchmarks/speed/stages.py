"""From a DICOM file to its secondary capture, stage by stage: the calls of ``certify_image`` and ``save``, timed.

The stage that grows with the film, the ledger, is timed on larger films too.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from monai_robustinterp import CertifiedResult, SaliencyBundle, load_bundle, save
from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.geometry.changes import NAMED
from monai_robustinterp.run import pipeline
from monai_robustinterp.run.pipeline import Prepared
from monai_robustinterp.study.timing import Clock


def breakdown(
    source: Path, model: str, *, device: str, n_samples: int | None, repeats: int, folder: Path
) -> dict[str, Any]:
    """Seconds of every stage for one DICOM file.

    Args:
        source: the file.
        model: name of a shipped bundle.
        device: "cpu" or "cuda".
        n_samples: copies m; None is the bundle's.
        repeats: timed runs, after a warm-up.
        folder: in which the results are written and removed again.

    Returns:
        ``n_samples``, ``source_shape``, and ``stages``, a list of seconds each.
    """
    bundle = load_bundle(model, {"device": f"$torch.device('{device}')", "n_samples": n_samples})
    clock = Clock(bundle.device)
    for _ in range(repeats + 1):
        with TemporaryDirectory(dir=folder) as name:
            result = _in_stages(clock, source, bundle, Path(name))
    return {
        "n_samples": result.votes.n_samples,
        "source_shape": result.record["source"]["shape"],
        "stages": {stage: seconds[1:] for stage, seconds in clock.seconds.items()},
    }


def ledgers(model: str, sides: Sequence[int], *, device: str, folder: Path) -> list[dict[str, Any]]:
    """Seconds of the ledger of square 16-bit films, once each.

    Args:
        model: name of a shipped bundle.
        sides: of the films in pixels.
        device: "cpu" or "cuda".
        folder: in which the films are written and removed again.

    Returns:
        ``side``, ``seconds`` and ``cpu_s``, which is of all threads, a film.
    """
    bundle = load_bundle(model, {"device": f"$torch.device('{device}')"})
    rows = []
    for side in sides:
        with TemporaryDirectory(dir=folder) as name:
            prepared = pipeline.prepare(_film(side, Path(name)), bundle)
        clock, cpu = Clock(bundle.device), time.process_time()
        _ledger(clock, prepared, bundle)
        (seconds,) = clock.seconds["ledger of changes"]
        rows.append({"side": side, "seconds": seconds, "cpu_s": time.process_time() - cpu})
    return rows


def _film(side: int, folder: Path) -> Path:
    """A bright disk with noise, as a PNG of 16 bits."""
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    noise = np.random.default_rng(0).standard_normal((side, side), dtype=np.float32)
    values = 40_000 - 20_000 * np.minimum(axis**2 + axis[:, None] ** 2, 1) + 300 * noise
    Image.fromarray(values.astype(np.uint16)).save(folder / "film.png", compress_level=1)
    return folder / "film.png"


def _in_stages(clock: Clock, source: Path, bundle: SaliencyBundle, folder: Path) -> CertifiedResult:
    prepared = clock("read and preprocess", lambda: pipeline.prepare(source, bundle))
    changes = _ledger(clock, prepared, bundle)
    votes, spec = clock("noisy copies and votes", lambda: bundle.inferer.vote(prepared.image, bundle.network))
    result = clock(
        "certificate, map on the source grid, record",
        lambda: pipeline.finish(prepared, bundle, votes=votes, spec=spec, changes=changes),
    )
    clock("overlay, secondary capture, files", lambda: save(result, folder))
    return result


def _ledger(clock: Clock, prepared: Prepared, bundle: SaliencyBundle) -> tuple[MeasuredChange, ...]:
    recipe = bundle.inferer.recipe
    return clock(
        "ledger of changes",
        lambda: pipeline.measured_changes(prepared, bundle, NAMED, noise=recipe.noise, seed=recipe.seed),
    )
