"""The whole flow, in order: read, smooth, interpret, vote, certify, map back to the source grid, render."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates import CertifiedResult
from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.certificates.sequence import covering_radius
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.changes import NAMED, Change, change_named
from monai_robustinterp.geometry.ledger import measure
from monai_robustinterp.geometry.lungs import LungMask, Lungs
from monai_robustinterp.geometry.native import native_scale
from monai_robustinterp.geometry.regions import RegionSource, region_on_cells
from monai_robustinterp.geometry.source import Source
from monai_robustinterp.io.read.display import display_gray
from monai_robustinterp.io.read.mask_file import Mask
from monai_robustinterp.noise.shape import Noise
from monai_robustinterp.smoothing.recipe import Progress
from monai_robustinterp.transforms import InvertSaliencyd
from monai_robustinterp.types import Region, SmoothingSpec, VoteMap

# While MONAI inverts a preprocessing it changes ``allow_missing_keys`` of its transforms: of two threads at once, one
# would find the other's change undone.
_INVERTING = threading.Lock()


_NO_CELLS = "the lung fields have none or all of the cells of the map, so nothing is claimed about them."


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One image file, read and ready for its votes.

    Attributes:
        image: the network's input [1, H, W] on its device, with the metadata and history of its source.
        source: the image as it was read, for changes of its pixels; None once they are measured: it holds the pixels
            of a large film twice, while all others wait for the network.
        gray: display values of the source, float32 [H, W] in [0, 1]: of the same reading, so that the votes are drawn
            over the image that they are of, whatever becomes of the file.
        regions: on the cells of the map.
        lungs: the lung fields, bool [H, W] on the grid of the source; None where they are no region.
        lungs_record: what drew them, for the record (:class:`~monai_robustinterp.certificates.Origin`).
        earlier: runs of the image with other settings that did not certify it, as the record names them.
        until_radius: at which sampling may stop, where it goes on until a change of this image is covered.
    """

    image: MetaTensor
    source: Source | None
    gray: npt.NDArray[np.float32]
    regions: tuple[Region, ...]
    lungs: Mask | None = None
    lungs_record: dict[str, Any] = field(default_factory=dict)
    earlier: tuple[dict[str, Any], ...] = ()
    until_radius: float | None = None


def certify_image(
    source: str | Path,
    bundle: SaliencyBundle,
    progress: Progress | None = None,
    *,
    regions: Sequence[RegionSource] = (),
    changes: Sequence[Change] = NAMED,
) -> CertifiedResult:
    """Certified saliency of one image file.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: the classifier and how to certify it.
        progress: called with the number of noisy copies just done.
        regions: whose share of the votes is certified, fixed before the noise. A
            :class:`~monai_robustinterp.geometry.lungs.LungMask` among them goes in place of the bundle's segmenter of
            the lungs, whose fields are a further region.
        changes: of the source image, for the ledger.

    Raises:
        InputRefused: if the file is no image that can be certified, or a region does not fit it.
    """
    prepared, recipe = prepare(source, bundle, regions=regions, changes=changes), bundle.inferer.recipe
    measured = measured_changes(prepared, bundle, changes, noise=recipe.noise, seed=recipe.seed)
    votes, spec = vote(prepared, bundle, progress)
    return finish(prepared, bundle, votes=votes, spec=spec, changes=measured)


def prepare(
    source: str | Path,
    bundle: SaliencyBundle,
    *,
    regions: Sequence[RegionSource] = (),
    changes: Sequence[Change] = NAMED,
    cell_size: int | None = None,
) -> Prepared:
    """Reads and preprocesses one image file; a thread of its own may do it while the network works on another one.

    Args:
        source: see :func:`certify_image`.
        bundle: see :func:`certify_image`.
        regions: see :func:`certify_image`.
        changes: see :func:`certify_image`.
        cell_size: side of the cells of the regions in pixels; None takes the bundle's.

    Raises:
        InputRefused: see :func:`certify_image`; or if sampling is to go on until a change is covered that is none of
            ``changes``, or does not apply to the image.
    """
    loaded = bundle.preprocessing({"image": str(source)}, end=1)
    gray = display_gray(loaded["image"].numpy(), loaded["image"].meta)
    source_image = Source(loaded["image"], bundle.preprocessing)
    image: MetaTensor = bundle.preprocessed(loaded)
    regions = [region.read(image.meta) if isinstance(region, LungMask) else region for region in regions]
    cell_size = cell_size or bundle.inferer.recipe.cell_size
    on_cells = [_on_cells(region, image, bundle, cell_size) for region in regions]
    ready = Prepared(image=image, source=source_image, gray=gray, regions=tuple(on_cells))
    lungs = next((region.pixels for region in regions if isinstance(region, Lungs)), None)
    ready = replace(ready, lungs=lungs) if lungs is not None else _with_lungs(ready, bundle, cell_size)
    return replace(ready, until_radius=_until_radius(ready, bundle, changes))


def _on_cells(region: RegionSource, image: MetaTensor, bundle: SaliencyBundle, cell_size: int) -> Region:
    with _INVERTING:
        return region_on_cells(region, image, bundle.preprocessing, cell_size=cell_size)


def _with_lungs(ready: Prepared, bundle: SaliencyBundle, cell_size: int) -> Prepared:
    """The image with the lungs that the bundle's segmenter finds on it, or the reason why it finds none."""
    if bundle.lungs is None:
        return ready
    found = bundle.lungs(torch.from_numpy(ready.gray))
    record = {**bundle.lungs.settings, "confidence": found.confidence, "failure": found.failure}
    lungs = Lungs.found(found, bundle.lungs.settings)
    if found.failure is not None:
        return replace(ready, lungs_record=record)
    try:
        region = _on_cells(lungs, ready.image, bundle, cell_size)
    except InputRefused:
        # The user named no region that could be wrong: the image goes on without a claim on its lungs.
        return replace(ready, lungs_record=record | {"failure": _NO_CELLS})
    return replace(ready, regions=(*ready.regions, region), lungs=lungs.pixels, lungs_record=record)


def _until_radius(ready: Prepared, bundle: SaliencyBundle, changes: Sequence[Change]) -> float | None:
    """The radius that covers the change of this image that sampling is to cover, known before the noise."""
    recipe, label = bundle.inferer.recipe, bundle.inferer.claim.until_covers
    if label is None:
        return None
    chosen = change_named(label, changes)
    (measured,) = measured_changes(ready, bundle, [chosen], noise=recipe.noise, seed=recipe.seed)
    if measured.reason:
        raise InputRefused(
            f"sampling is to go on until {label!r} is covered, a change that does not apply to this image: "
            f"{measured.reason} Choose another one, or a radius (until_radius)."
        )
    return covering_radius(max(measured.norms), sigma=recipe.sigma)


def vote(prepared: Prepared, bundle: SaliencyBundle, progress: Progress | None = None) -> tuple[VoteMap, SmoothingSpec]:
    """Takes the votes of a prepared image; the arguments are those of :func:`certify_image`."""
    return bundle.inferer.vote(
        prepared.image, bundle.network, progress, regions=prepared.regions, until_radius=prepared.until_radius
    )


def measured_changes(
    prepared: Prepared, bundle: SaliencyBundle, changes: Sequence[Change], *, noise: Noise, seed: int
) -> tuple[MeasuredChange, ...]:
    """Changes of the source image in standard deviations of the noise; they do not depend on the votes.

    Args:
        prepared: the image.
        bundle: what prepared it.
        changes: of the source image.
        noise: of the copies.
        seed: of random changes.

    Raises:
        ValueError: if the image has no source any more.
    """
    if prepared.source is None:
        raise ValueError("the pixels of this image were let go; measure its changes before.")
    clean = prepared.image.as_tensor().cpu().numpy()
    scale = native_scale(bundle.preprocessing, prepared.image.meta, (clean.shape[1], clean.shape[2]))
    # Where the path is known the norm also holds for preprocessing of the changed pixels that rounds otherwise.
    round_off = 2 * (scale.round_off or 0.0) / noise.sigma
    return measure(changes, prepared.source, clean, norm=noise.norm, round_off=round_off, seed=seed)


def finish(
    prepared: Prepared,
    bundle: SaliencyBundle,
    *,
    votes: VoteMap,
    spec: SmoothingSpec,
    changes: Sequence[MeasuredChange] = (),
) -> CertifiedResult:
    """Certificate, map on the source grid and record; a thread of its own may do it, as it runs no network.

    Args:
        prepared: the image.
        bundle: what prepared it and took the votes.
        votes: of the image.
        spec: how they were taken.
        changes: of the source image, for the ledger.

    Raises:
        InputRefused: if the preprocessing is not invertible.
    """
    image = prepared.image
    return bundle.inferer.result(
        votes,
        spec,
        image,
        bundle.network,
        files=bundle.files,
        scale=native_scale(bundle.preprocessing, image.meta, votes.input_shape),
        changes=changes,
        lungs=prepared.lungs_record,
        picture=picture_of(prepared, bundle, votes, cell_size=spec.cell_size),
        earlier=prepared.earlier,
        until_radius=prepared.until_radius,
    )


def picture_of(prepared: Prepared, bundle: SaliencyBundle, votes: VoteMap, *, cell_size: int) -> Picture:
    """The votes on the pixels of their source, by the inversion of the preprocessing.

    Args:
        prepared: the image.
        bundle: what prepared it.
        votes: of the image.
        cell_size: side of their cells in pixels of the network's input.

    Raises:
        InputRefused: if the preprocessing is not invertible.
    """
    image = prepared.image
    maps = MetaTensor(torch.from_numpy(votes.channels(cell_size)))
    to_source_grid = InvertSaliencyd("maps", transform=bundle.preprocessing, orig_keys="image")
    with _INVERTING:
        share, top_k = to_source_grid({"image": image, "maps": maps})["maps"].numpy()
    return Picture(share=share, top_k_mask=top_k > 0, gray=prepared.gray, meta=dict(image.meta), lungs=prepared.lungs)
