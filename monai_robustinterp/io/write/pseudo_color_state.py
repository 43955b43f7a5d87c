"""Pseudo-Color Softcopy Presentation State (PS3.3 A.33.3): the parametric map of a result in color."""

from __future__ import annotations

import numpy as np
from highdicom import PaletteColorLUT, PaletteColorLUTTransformation
from highdicom.pr import PseudoColorSoftcopyPresentationState
from matplotlib import colormaps
from pydicom.dataset import Dataset
from pydicom.uid import ParametricMapStorage

from monai_robustinterp.io.write.dicom_object import ObjectSource
from monai_robustinterp.io.write.parametric_map import KIND as MAP_KIND
from monai_robustinterp.io.write.presentation import show_pixels_as_they_are

NAME = "pseudocolor.dcm"
KIND = "pseudo-color presentation state"


def pseudo_color_state(source: ObjectSource) -> Dataset:
    """Refers to the parametric map of the same result: from black, which is no vote, to yellow, which is all."""
    shares = _map(source)
    made = PseudoColorSoftcopyPresentationState(
        [shares],
        palette_color_lut_transformation=_palette(source),
        content_label="VOTES",
        content_description="Vote shares in color",
        **source.identifiers(KIND, 5),
    )
    show_pixels_as_they_are(made, source.picture.meta)
    source.describe(made, "Vote colors")
    return made


def _map(source: ObjectSource) -> Dataset:
    """What the state says of the parametric map: its identifiers, its size, and which values go from black to white."""
    shares = source.image
    identifiers = source.identifiers(MAP_KIND, 2)
    shares.SOPClassUID = ParametricMapStorage
    shares.SOPInstanceUID, shares.SeriesInstanceUID = (
        identifiers["sop_instance_uid"],
        identifiers["series_instance_uid"],
    )
    shares.NumberOfFrames = 1
    window, groups = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 0.5, 1, "LINEAR_EXACT"
    groups.FrameVOILUTSequence = [window]
    shares.SharedFunctionalGroupsSequence, shares.PerFrameFunctionalGroupsSequence = [groups], [Dataset()]
    return shares


def _palette(source: ObjectSource) -> PaletteColorLUTTransformation:
    # Inferno from its black to its pale end: there is no film below that either could be mistaken for.
    colors = np.rint(colormaps["inferno"](np.arange(256))[:, :3] * (2**16 - 1)).astype(np.uint16)
    red, green, blue = (
        PaletteColorLUT(0, np.ascontiguousarray(column), name)
        for column, name in zip(colors.T, ("red", "green", "blue"))
    )
    return PaletteColorLUTTransformation(red, green, blue, palette_color_lut_uid=source.uid("palette"))
