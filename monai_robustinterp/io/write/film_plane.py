"""A plane for what lies on a film: viewers ask where an image is, and a projection has no place in the patient."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset

from monai_robustinterp.io.write.dicom_object import ObjectSource

NO_PLACE = (
    "A projection has no place in the patient: frame of reference, position and orientation are those of a plane "
    "with rows along x and columns along y, where viewers lay a film."
)


def film_plane(source: ObjectSource) -> Dataset:
    """The source image as highdicom takes it, with a plane of its own: x along the rows, y along the columns.

    Viewers lay an image without a position there (OHIF, ITK), and OHIF lays nothing over a film that states another
    orientation or none, be it the true one. The frame of reference is that of this result alone, so nothing is
    registered with the patient by it; what the directions are of the patient says PatientOrientation.
    Pixel spacing is the source's, 1 mm where the source states none.
    """
    image = source.image
    image.FrameOfReferenceUID = source.uid("frame of reference")
    image.PositionReferenceIndicator = ""
    image.ImagePositionPatient = [0, 0, 0]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.PixelSpacing, image.SliceThickness = _spacing(source), 1
    return image


def spacing_is_unknown(source: ObjectSource) -> bool:
    """Whether the spacing of the plane is a placeholder."""
    return bool(np.isnan(np.asarray(source.picture.meta["spacing_mm"], dtype=float)).any())


def _spacing(source: ObjectSource) -> list[float]:
    if spacing_is_unknown(source):
        return [float(source.picture.meta["pixel_aspect"]), 1.0]
    return [float(value) for value in source.picture.meta["spacing_mm"]]
