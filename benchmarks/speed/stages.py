"""From a DICOM file to its secondary capture, stage by stage: the calls of ``certify_image`` and ``save``, timed."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monai_robustinterp import CertifiedResult, SaliencyBundle, load_bundle, save
from monai_robustinterp.geometry.changes import NAMED
from monai_robustinterp.run import pipeline
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


def _in_stages(clock: Clock, source: Path, bundle: SaliencyBundle, folder: Path) -> CertifiedResult:
    prepared = clock("read and preprocess", lambda: pipeline.prepare(source, bundle))
    recipe = bundle.inferer.recipe
    changes = clock(
        "ledger of changes",
        lambda: pipeline.measured_changes(prepared, bundle, NAMED, noise=recipe.noise, seed=recipe.seed),
    )
    votes, spec = clock("noisy copies and votes", lambda: bundle.inferer.vote(prepared.image, bundle.network))
    result = clock(
        "certificate, map on the source grid, record",
        lambda: pipeline.finish(prepared, bundle, votes=votes, spec=spec, changes=changes),
    )
    clock("overlay, secondary capture, files", lambda: save(result, folder))
    return result
