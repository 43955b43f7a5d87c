"""The overlay as DICOM secondary capture: from a run, or through MONAI's ``SaveImage`` for ``.dcm``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import torch
from highdicom.sc import SCImage
from monai.data import ImageWriter
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from monai_robustinterp._version import __version__
from monai_robustinterp.certificates import LabelCertificate, certificate_from_json
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import json_bytes
from monai_robustinterp.io.read.dicom_header import header_meta
from monai_robustinterp.io.read.display import display_image
from monai_robustinterp.io.write.secondary_capture import (
    anonymous_source,
    reference_source,
    secondary_capture,
    write_dicom_atomically,
)
from monai_robustinterp.visualize.caption import caption_lines, further_lines, guarantee
from monai_robustinterp.visualize.overlay import render_overlay

Reference = Dataset
"""Header of a DICOM file whose patient and study a capture joins."""

SERIES_DESCRIPTION = "Certified saliency - not for diagnosis"


def read_reference(path: str | Path) -> Reference:
    """Header of the DICOM file that ``--reference`` names.

    Raises:
        InputRefused: if it is no readable DICOM file.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError) as error:
        raise InputRefused("--reference is no readable DICOM file: pass an image of the wanted study.") from error


def overlay_pixels(
    gray: npt.NDArray[np.float32],
    share: npt.NDArray[np.float32],
    top_k_mask: npt.NDArray[np.bool_],
    record: Mapping[str, Any],
) -> npt.NDArray[np.uint8]:
    """The overlay on the source grid with its strip.

    Args:
        gray: display values [H, W] of the source in [0, 1].
        share: vote shares [H, W] on the source grid.
        top_k_mask: reported set [H, W] on the source grid.
        record: content of certificate.json.

    Returns:
        uint8 [H + strip, W, 3].
    """
    finding = record["finding"]
    lines = caption_lines(
        certificate_from_json(dict(record)),
        LabelCertificate(**record["label"]),
        finding=finding["name"],
        score=finding["score"],
        label_agreement=finding["label_agreement"],
        further=further_lines(record),
    )
    return render_overlay(gray, share, top_k_mask, lines)


def overlay_capture(
    pixels: npt.NDArray[np.uint8],
    meta: Mapping[str, Any],
    record: Mapping[str, Any],
    *,
    reference: Reference | None = None,
    transfer_syntax: str = "explicit",
) -> SCImage:
    """The rendered overlay as secondary capture in the study of its source.

    Args:
        pixels: uint8 [H', W', 3].
        meta: the reader's metadata of the source.
        record: content of certificate.json; its hash makes the UIDs.
        reference: header whose patient and study the capture joins where the source is no DICOM.
        transfer_syntax: see :func:`~monai_robustinterp.io.write.secondary_capture.secondary_capture`.
    """
    return secondary_capture(
        pixels,
        _source_header(meta, reference),
        series_description=SERIES_DESCRIPTION,
        derivation_description=f"{record['finding']['name']}. {_guarantee(record)}"[:1024],
        identity=hashlib.sha256(json_bytes(record)).hexdigest(),
        software_version=__version__,
        transfer_syntax=transfer_syntax,
    )


def _source_header(meta: Mapping[str, Any], reference: Reference | None) -> Dataset:
    if meta["file_format"] == "DICOM":
        header = pydicom.dcmread(meta["filename_or_obj"], stop_before_pixels=True)
        if header_meta(header)["sop_instance_uid"] != meta["sop_instance_uid"]:
            raise InputRefused(
                "the source file holds another DICOM image than when it was read: it was replaced meanwhile, and a "
                "result must not join another study. Run it again."
            )
        return header
    rows, cols = (int(size) for size in meta["spatial_shape"])
    spacing = [float(value) for value in meta["spacing_mm"]]
    own = anonymous_source(
        rows=rows,
        cols=cols,
        spacing_mm=None if np.isnan(spacing).any() else (spacing[0], spacing[1]),
        entropy=str(meta["pixel_sha256"]),
    )
    return own if reference is None else reference_source(reference, own)


class SecondaryCaptureWriter(ImageWriter):
    """Writes certified vote maps as DICOM secondary captures over their source image.

    ``import monai_robustinterp`` registers it for ``dcm``, so ``SaveImage(output_ext=".dcm")`` finds it. The map must
    be on the source grid (invert the preprocessing first) and carry the inferer's ``certificate`` in its metadata.

    Args:
        output_dtype: not used; the capture is 8-bit RGB.
        transfer_syntax: "explicit", or a lossless compression: "jpeg2000", "jpegls" or "rle".
        overwrite: replace an existing file.
        kwargs: not used (MONAI passes ``scale`` and others).
    """

    def __init__(
        self, output_dtype: Any = None, transfer_syntax: str = "explicit", overwrite: bool = False, **kwargs: Any
    ) -> None:
        super().__init__()
        self._transfer_syntax, self._overwrite = transfer_syntax, overwrite
        self._channels: npt.NDArray[np.float32] | None = None
        self._meta: Mapping[str, Any] = {}

    def set_data_array(self, data_array: Any, **kwargs: Any) -> None:
        """Takes the map.

        Args:
            data_array: [2, H, W]: vote share and reported set on the source grid.
            kwargs: not used.
        """
        array = data_array.detach().cpu().numpy() if isinstance(data_array, torch.Tensor) else np.asarray(data_array)
        if array.ndim != 3 or array.shape[0] != 2:
            raise ValueError(
                f"the map has shape {array.shape}; the writer needs [2, H, W], vote share and reported set, as "
                "CertifiedSaliencyInferer returns them."
            )
        self._channels = array.astype(np.float32)

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, **kwargs: Any) -> None:
        """Takes the metadata.

        Args:
            meta_dict: the source's metadata of ChestXRayReader, with the inferer's ``certificate``.
            kwargs: not used.
        """
        if not meta_dict or "certificate" not in meta_dict or "pixel_sha256" not in meta_dict:
            raise ValueError(
                "the map's metadata lack the certificate or the source: load with ChestXRayReader, map with "
                "CertifiedSaliencyInferer and keep the MetaTensor's metadata."
            )
        self._meta = meta_dict

    def write(self, filename: Any, verbose: bool = True, **kwargs: Any) -> None:
        """Renders and writes, to a temporary name first.

        Args:
            filename: path of the file.
            verbose: not used; file names may identify a patient, so none is logged.
            kwargs: not used.
        """
        if self._channels is None:
            raise ValueError("there is no map: call set_data_array first.")
        record = json.loads(self._meta["certificate"])
        share, top_k = self._channels
        gray = display_image(self._meta["filename_or_obj"], pixel_sha256=self._meta["pixel_sha256"])
        pixels = overlay_pixels(gray, share, top_k > 0, record)
        capture = overlay_capture(pixels, self._meta, record, transfer_syntax=self._transfer_syntax)
        write_dicom_atomically(capture, Path(filename), overwrite=self._overwrite)


def _guarantee(record: Mapping[str, Any]) -> str:
    return guarantee(certificate_from_json(dict(record)), LabelCertificate(**record["label"]))
