"""The whole flow, in order: read, smooth, interpret, vote, certify, map back to the source grid, render, write."""

from __future__ import annotations

import platform
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor
from PIL import Image

from monai_robustinterp._version import __version__
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write, file_sha256, json_bytes, sealed
from monai_robustinterp.geometry.native import native_record, native_scale
from monai_robustinterp.geometry.regions import RegionSource, region_on_cells
from monai_robustinterp.inferers import Progress
from monai_robustinterp.io.read.display import display_gray
from monai_robustinterp.io.votes_npz import save_votes
from monai_robustinterp.io.write.secondary_capture import write_dicom_atomically
from monai_robustinterp.io.write.writer import Reference, overlay_capture, overlay_pixels
from monai_robustinterp.transforms import InvertSaliencyd
from monai_robustinterp.types import CertifiedResult, Region, SmoothingSpec, VoteMap

# While MONAI inverts a preprocessing it changes ``allow_missing_keys`` of its transforms: of two threads at once, one
# would find the other's change undone.
_INVERTING = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One image file, read and ready for its votes.

    Attributes:
        image: the network's input [1, H, W] on its device, with the metadata and history of its source.
        gray: display values of the source, float32 [H, W] in [0, 1]: of the same reading, so that the votes are drawn
            over the image that they are of, whatever becomes of the file.
        regions: on the cells of the map.
        origin: where the numbers come from (:func:`origin`); the hash is of the file just read.
    """

    image: MetaTensor
    gray: npt.NDArray[np.float32]
    regions: tuple[Region, ...]
    origin: dict[str, dict[str, object]]


def certify_image(
    source: str | Path,
    bundle: SaliencyBundle,
    progress: Progress | None = None,
    *,
    regions: Sequence[RegionSource] = (),
) -> CertifiedResult:
    """Certified saliency of one image file.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: the classifier and how to certify it.
        progress: called with the number of noisy copies just done.
        regions: whose share of the votes is certified, fixed before the noise.

    Raises:
        InputRefused: if the file is no image that can be certified, or a region does not fit it.
    """
    prepared = prepare(source, bundle, file_hash=file_sha256(source), regions=regions)
    votes, spec = bundle.inferer.vote(prepared.image, bundle.network, progress, regions=prepared.regions)
    return finish(prepared, bundle, votes=votes, spec=spec)


def prepare(
    source: str | Path, bundle: SaliencyBundle, *, file_hash: str, regions: Sequence[RegionSource] = ()
) -> Prepared:
    """Reads and preprocesses one image file; a thread of its own may do it while the network works on another one.

    Args:
        source: see :func:`certify_image`.
        bundle: see :func:`certify_image`.
        file_hash: of the file (:func:`~monai_robustinterp.files.file_sha256`), taken before.
        regions: see :func:`certify_image`.

    Raises:
        InputRefused: see :func:`certify_image`; or if the file changed meanwhile.
    """
    loaded = bundle.preprocessing({"image": str(source)}, end=1)
    gray = display_gray(loaded["image"].numpy(), loaded["image"].meta)
    image: MetaTensor = bundle.preprocessing(loaded, start=1)["image"]
    cell_size = bundle.inferer.cell_size
    with _INVERTING:
        on_cells = [region_on_cells(region, image, bundle.preprocessing, cell_size=cell_size) for region in regions]
    comes_from = origin(image, bundle, source)
    if comes_from["source"]["file_sha256"] != file_hash:
        raise InputRefused("the file changed while it was read: wait until it is written, and run it again.")
    return Prepared(image=image, gray=gray, regions=tuple(on_cells), origin=comes_from)


def finish(prepared: Prepared, bundle: SaliencyBundle, *, votes: VoteMap, spec: SmoothingSpec) -> CertifiedResult:
    """Certificate, map on the source grid and record; a thread of its own may do it, as it runs no network.

    Args:
        prepared: the image.
        bundle: what prepared it and took the votes.
        votes: of the image.
        spec: how they were taken.

    Raises:
        InputRefused: if the preprocessing is not invertible.
    """
    inferer, image = bundle.inferer, prepared.image
    certificate = certify_votes(votes, spec, beta=inferer.beta, eta=inferer.eta)
    maps = MetaTensor(torch.from_numpy(votes.channels(spec.cell_size)))
    to_source_grid = InvertSaliencyd("maps", transform=bundle.preprocessing, orig_keys="image")
    with _INVERTING:
        share, top_k = to_source_grid({"image": image, "maps": maps})["maps"].numpy()
    scale = native_scale(bundle.preprocessing, image.meta, votes.input_shape)
    native = native_record(certificate.l_max, scale, certificate.n_pixels)
    record: dict[str, Any] = inferer.record(votes, certificate) | {"native": native} | prepared.origin
    return CertifiedResult(
        votes=votes,
        certificate=certificate,
        record=sealed(record),
        share=share,
        top_k_mask=top_k > 0,
        gray=prepared.gray,
        meta=dict(image.meta),
    )


def save(
    explanation: CertifiedResult, folder: Path, *, reference: Reference | None = None, transfer_syntax: str = "explicit"
) -> None:
    """Writes overlay.dcm, overlay.png, certificate.json and votes.npz.

    Args:
        explanation: result of :func:`certify_image`.
        folder: an existing folder without these files.
        reference: DICOM header whose patient and study the capture joins, for a source that is no DICOM.
        transfer_syntax: "explicit", or a lossless compression: "jpeg2000", "jpegls" or "rle".
    """
    record, meta = explanation.record, explanation.meta
    pixels = overlay_pixels(explanation.gray, explanation.share, explanation.top_k_mask, record)
    capture = overlay_capture(pixels, meta, record, reference=reference, transfer_syntax=transfer_syntax)
    write_dicom_atomically(capture, folder / "overlay.dcm")
    # At this level in half of the default one's time, and a tenth larger.
    atomic_write(folder / "overlay.png", lambda file: Image.fromarray(pixels).save(file, "PNG", compress_level=3))
    atomic_write(folder / "certificate.json", lambda file: file.write(json_bytes(record)))
    save_votes(folder / "votes.npz", explanation.votes, explanation.certificate.spec, record["provenance"])


def origin(image: MetaTensor, bundle: SaliencyBundle, source: str | Path) -> dict[str, dict[str, object]]:
    """Where the numbers come from: source, software and hashes; no names and no dates.

    Args:
        image: preprocessed, with the reader's metadata.
        bundle: the classifier.
        source: the file.
    """
    meta = image.meta
    return {
        "source": {
            "format": str(meta["file_format"]),
            "file_sha256": file_sha256(source),
            "shape": [int(size) for size in meta["spatial_shape"]],
            "pixel_sha256": str(meta["pixel_sha256"]),
            "intensity_path": str(meta["intensity_path"]),
            "display_source": str(meta["display_source"]),
            "warnings": str(meta["warnings"]),
        },
        "provenance": {
            "software": f"monai_robustinterp {__version__}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "monai": monai.__version__,
            "numpy": np.__version__,
            "device": bundle.device.type,
            **bundle.hashes,
        },
    }
