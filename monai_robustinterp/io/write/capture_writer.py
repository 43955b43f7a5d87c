"""MONAI's ``SaveImage`` for ``.dcm``: a certified vote map as secondary capture, with its certificate and votes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data import ImageWriter

from monai_robustinterp.certificates.certificate import Picture
from monai_robustinterp.io.read.display import display_image
from monai_robustinterp.io.write.options import DEFAULT_OPTIONS, OutputOptions
from monai_robustinterp.io.write.outputs import CAPTURE_NAME, save_outputs
from monai_robustinterp.io.write.result import save_from_meta


class SecondaryCaptureWriter(ImageWriter):
    """Writes certified vote maps as DICOM secondary captures over their source image.

    ``import monai_robustinterp`` registers it for ``dcm``, so ``SaveImage(output_ext=".dcm")`` finds it. The map must
    be on the source grid (invert the preprocessing first) and carry the inferer's ``certificate`` and ``votes`` in its
    metadata. Beside NAME.dcm it writes NAME.certificate.json and NAME.votes.npz.

    Args:
        output_dtype: not used; the capture is 8-bit RGB.
        overwrite: replace an existing file.
        options: which outputs, and how they are written. "sc" is NAME.dcm; the others lie beside it under their own
            names, such as NAME.report.dcm.
        kwargs: not used (MONAI passes ``scale`` and others).
    """

    def __init__(
        self,
        output_dtype: Any = None,
        overwrite: bool = False,
        options: OutputOptions = DEFAULT_OPTIONS,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self._overwrite, self._options = overwrite, options
        self._channels: npt.NDArray[np.float32] | None = None
        self._meta: Mapping[str, Any] = {}

    def set_data_array(self, data_array: Any, **kwargs: Any) -> None:
        """Takes the map.

        Args:
            data_array: [2, H, W]: vote share and reported set on the source grid; or [3, H, W], with the lung fields
                that the record tells of, for the outputs that show them.
            kwargs: not used.
        """
        array = data_array.detach().cpu().numpy() if isinstance(data_array, torch.Tensor) else np.asarray(data_array)
        if array.ndim != 3 or array.shape[0] not in (2, 3):
            raise ValueError(
                f"the map has shape {array.shape}; the writer needs [2, H, W], vote share and reported set, as "
                "CertifiedSaliencyInferer returns them, or [3, H, W], with the lung fields behind them."
            )
        self._channels = array.astype(np.float32)

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, **kwargs: Any) -> None:
        """Takes the metadata.

        Args:
            meta_dict: the source's metadata of ChestXRayReader, with the inferer's ``certificate``.
            kwargs: not used.
        """
        if not meta_dict or not {"certificate", "votes", "pixel_sha256"} <= meta_dict.keys():
            raise ValueError(
                "the map's metadata lack the certificate, its votes or the source: load with ChestXRayReader, map with "
                "CertifiedSaliencyInferer and keep the MetaTensor's metadata."
            )
        self._meta = meta_dict

    def write(self, filename: Any, verbose: bool = True, **kwargs: Any) -> None:
        """Renders and writes the capture, and beside it the certificate and the votes that ``verify`` audits.

        Args:
            filename: path of the file.
            verbose: not used; file names may identify a patient, so none is logged.
            kwargs: not used.
        """
        if self._channels is None:
            raise ValueError("there is no map: call set_data_array first.")
        path, record = Path(filename), json.loads(self._meta["certificate"])
        share, top_k, *lungs = self._channels
        gray = display_image(self._meta["filename_or_obj"], pixel_sha256=self._meta["pixel_sha256"])
        picture = Picture(
            share=share,
            top_k_mask=top_k > 0,
            gray=gray,
            meta=dict(self._meta),
            lungs=lungs[0] > 0 if lungs else None,
        )
        save_outputs(
            picture,
            record,
            self._options,
            at=lambda name: path if name == CAPTURE_NAME else path.with_name(f"{path.stem}.{name}"),
            overwrite=self._overwrite,
        )
        save_from_meta(self._meta, path.with_suffix(""), overwrite=self._overwrite)
