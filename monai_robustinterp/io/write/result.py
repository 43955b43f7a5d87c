"""A result as files: certificate.json, votes.npz, and the overlay where there is a source to draw on."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from monai_robustinterp.certificates import CertifiedResult
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.io.votes_npz import votes_bytes
from monai_robustinterp.io.write.options import DEFAULT_OPTIONS, OutputOptions
from monai_robustinterp.io.write.outputs import save_outputs
from monai_robustinterp.io.write.overlay import overlay_pixels

CERTIFICATE_NAME, VOTES_NAME, PREVIEW_NAME = "certificate.json", "votes.npz", "overlay.png"


def save(result: CertifiedResult, folder: str | Path, options: OutputOptions = DEFAULT_OPTIONS) -> None:
    """Writes certificate.json and votes.npz, which ``verify`` audits, and of a file's map overlay.png and the outputs.

    Args:
        result: of an image file, or of a tensor.
        folder: an existing folder without these files, or one that is made.
        options: which outputs, and how they are written.

    Raises:
        FileExistsError: if one of the files is there.
        InputRefused: if an output needs a DICOM source and there is none.
    """
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    if result.picture is not None:
        pixels = overlay_pixels(result.picture, result.record, capture=options.capture)
        save_outputs(result.picture, result.record, options, at=folder.joinpath, pixels=pixels)
        atomic_write(folder / PREVIEW_NAME, partial(_write_png, pixels), private=True)
    atomic_write(folder / CERTIFICATE_NAME, lambda file: file.write(json_bytes(result.record)))
    atomic_write(folder / VOTES_NAME, lambda file: file.write(_votes(result)))


def result_meta(result: CertifiedResult) -> dict[str, Any]:
    """What the metadata of a map hold, so that its files can be written later.

    ``certificate`` is the record as JSON text, ``votes`` the content of votes.npz in base64, ``vote_counts`` int64
    [h, w].
    """
    return {
        "certificate": json.dumps(result.record),
        "votes": base64.b64encode(_votes(result)).decode(),
        "vote_counts": torch.from_numpy(result.votes.counts),
    }


def save_from_meta(meta: Mapping[str, Any], stem: Path, *, overwrite: bool = False) -> None:
    """Writes what :func:`result_meta` holds, as ``stem.certificate.json`` and ``stem.votes.npz``.

    Args:
        meta: metadata of one map.
        stem: path and beginning of the names.
        overwrite: replace existing files.

    Raises:
        InputRefused: if the metadata hold no result.
    """
    if "certificate" not in meta or "votes" not in meta:
        raise InputRefused("the map's metadata hold no result: keep the metadata that CertifiedSaliencyInferer gives.")
    files = {CERTIFICATE_NAME: json_bytes(json.loads(meta["certificate"])), VOTES_NAME: base64.b64decode(meta["votes"])}
    for name, content in files.items():
        atomic_write(stem.with_name(f"{stem.name}.{name}"), partial(_write, content), overwrite=overwrite)


def _write_png(pixels: npt.NDArray[np.uint8], file: BinaryIO) -> None:
    # At this level in half of the default one's time, and a tenth larger.
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _votes(result: CertifiedResult) -> bytes:
    return votes_bytes(result.votes, result.certificate.spec, result.record["provenance"])
