"""From a DICOM file to its secondary capture, stage by stage: the calls of ``pipeline``, timed from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from monai.data import MetaTensor
from PIL import Image

from monai_robustinterp import SaliencyBundle, certify_votes, load_bundle, pipeline
from monai_robustinterp.batching import wait_for
from monai_robustinterp.io.atomic import atomic_write
from monai_robustinterp.io.secondary_capture import write_dicom_atomically
from monai_robustinterp.io.votes_npz import save_votes
from monai_robustinterp.io.writer import overlay_capture, overlay_pixels
from monai_robustinterp.native import native_record, native_scale
from monai_robustinterp.records import json_bytes, sealed
from monai_robustinterp.transforms import InvertSaliencyd

T = TypeVar("T")


class _Clock:
    """Seconds of each stage, which waits for the GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    def __call__(self, stage: str, call: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = call()
        wait_for(self.device)
        self.seconds[stage] = time.perf_counter() - start
        return result


def breakdown(
    source: Path, model: str, *, device: str, n_samples: int | None, repeats: int, folder: Path
) -> dict[str, Any]:
    """Seconds of every stage for one DICOM file, and of ``run`` and ``save`` as they are.

    Args:
        source: the file.
        model: name of a shipped bundle.
        device: "cpu" or "cuda".
        n_samples: copies m; None is the bundle's.
        repeats: timed runs, after a warm-up.
        folder: in which the results are written and removed again.

    Returns:
        ``n_samples``, ``source_shape``, ``stages`` (a list of seconds each) and ``whole`` (a list of seconds).
    """
    bundle = load_bundle(model, {"device": f"$torch.device('{device}')", "n_samples": n_samples})
    stages: dict[str, list[float]] = {}
    whole = []
    for repeat in range(repeats + 1):
        with TemporaryDirectory(dir=folder) as name:
            clock = _Clock(bundle.device)
            _in_stages(clock, source, bundle, Path(name))
        with TemporaryDirectory(dir=folder) as name:
            start = time.perf_counter()
            explanation = pipeline.run(source, bundle)
            pipeline.save(explanation, Path(name))
            seconds = time.perf_counter() - start
        if repeat:
            whole.append(seconds)
            for stage, value in clock.seconds.items():
                stages.setdefault(stage, []).append(value)
    shape = [int(size) for size in explanation.meta["spatial_shape"]]
    return {"n_samples": explanation.votes.n_samples, "source_shape": shape, "stages": stages, "whole": whole}


def _in_stages(clock: _Clock, source: Path, bundle: SaliencyBundle, folder: Path) -> None:
    inferer, transforms = bundle.inferer, bundle.preprocessing
    prepared = clock("read and preprocess", lambda: pipeline.prepare(source, bundle))
    image = prepared.image
    votes, spec = clock("noisy copies and votes", lambda: inferer.vote(image, bundle.network))
    certificate = clock("certificate", lambda: certify_votes(votes, spec, beta=inferer.beta, eta=inferer.eta))

    def to_source_grid() -> Any:
        maps = MetaTensor(torch.from_numpy(votes.channels(spec.cell_size)).to(image.device))
        invert = InvertSaliencyd("maps", transform=transforms, orig_keys="image")
        return invert({"image": image, "maps": maps})["maps"].numpy()

    def make_record() -> dict[str, Any]:
        scale = native_scale(transforms, image.meta, votes.input_shape)
        native = native_record(certificate.l_max, scale, certificate.n_pixels)
        return sealed(inferer.record(votes, certificate) | {"native": native} | prepared.origin)

    share, top_k = clock("map to the source grid", to_source_grid)
    record = clock("record", make_record)
    pixels = clock("overlay", lambda: overlay_pixels(prepared.gray, share, top_k > 0, record))

    def write() -> None:
        write_dicom_atomically(overlay_capture(pixels, image.meta, record), folder / "overlay.dcm")
        atomic_write(folder / "overlay.png", lambda file: Image.fromarray(pixels).save(file, "PNG", compress_level=3))
        atomic_write(folder / "certificate.json", lambda file: file.write(json_bytes(record)))
        save_votes(folder / "votes.npz", votes, certificate.spec, record["provenance"])

    clock("secondary capture and writing", write)
