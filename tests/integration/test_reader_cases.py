"""The reader on files of the kinds that hospital users reported: pixels of the control film, a refusal or a warning."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.reader import ChestXRayReader
from tests.support.cases import collected
from tests.support.shared import shared_case

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader", "ignore:.*nvImageCodec")

EXACT, OF_8_BITS, LOSSY = 1e-6, 1 / 255, 0.05
BITS = "16 bits are claimed and all pixel values lie in 12"
# file -> (words of the warnings; "" for none, largest difference from the control's display values)
READ = {
    "00_control.dcm": ("", EXACT),
    "01_agfa_voilut_bits16_data12.dcm": ("claims outputs of 16 bits and its entries reach 4095", EXACT),
    "01c_modality_lut_bits16_data12.dcm": ("claims outputs of 16 bits and its entries reach 4095", EXACT),
    "02_png16_values12bit.png": (BITS, EXACT),
    "03_dx16_values12_nowindow.dcm": (BITS, EXACT),
    "08b_window_all_black.dcm": ("does not fit the pixels: 100%", EXACT),
    "08c_window_8bit_on_12bit.dcm": ("does not fit the pixels: 99%", EXACT),
    "14_voilut_SS_first_unsigned.dcm": ("first value is signed", 2e-4),
    "14c_empty_lut_item.dcm": ("table 1 of 1 is empty", EXACT),
    "15_no_preamble.dcm": ("no DICOM preamble", EXACT),
    "15b_no_transfersyntax.dcm": ("states no transfer syntax", EXACT),
    "17_lateral.dcm": (r"ViewPosition is LL \(lateral\)", EXACT),
    "18_hand_by_region_code.dcm": ("AnatomicRegionSequence has no code of the chest", EXACT),
    "18e_torax.dcm": ("", EXACT),
    "20e_jpeg_tint4.jpg": ("color channels differ by up to 5", LOSSY),
    "21_rgb_sc_equal.dcm": ("color object whose channels are equal", OF_8_BITS),
    "43_highbit15_leftjust.dcm": ("shifted right by 4 bits", EXACT),
    "62b_lut_descriptor_entries_toomany.dcm": ("one entry less than its descriptor", EXACT),
    "62c_lut_bits_less_than_data.dcm": ("claims outputs of 10 bits and its entries reach 4095", EXACT),
}
# Other pixels than the control's, or another grid.
OTHERS = {
    "08_window_all_white.dcm": ("does not fit the pixels: 100%", (384, 384)),
    "13_nonsquare_spacing.dcm": ("0.5 times as high as wide", (384, 192)),
    "13b_pixelaspect.dcm": ("0.5 times as high as wide", (384, 192)),
    "64_mono1_16_nowindow_12bit.dcm": (BITS, (384, 384)),
}
REFUSED = {"47_no_photometric.dcm": "PhotometricInterpretation is missing"}
HOSTILE = {
    "gdcm_abort_byteflip.dcm": r"ended the process that decodes \(SIGABRT\)",
    "gdcm_segfault.dcm": r"ended the process that decodes \(SIGSEGV\)",
    "jpegls_abort.dcm": "states 65535 rows",
    "lut_bits_overflow.dcm": "modality LUT gives all pixels the same value.*2 entries of 1025 bits",
    "nested_capture_recursion.dcm": "deeper than 16 levels",
    "nifti_units5.nii": "spacing in unit 5",
    "pixeldata_vr.dcm": "PixelData has a value representation that is none of DICOM's",
}
CONCERNS = ("17_lateral.dcm", "18_hand_by_region_code.dcm")


def read(path: Path, *, strict: bool = False) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array, meta = ChestXRayReader(strict=strict).get_data(str(path))
    low, high = meta["display_min"], meta["display_max"]
    return np.clip((array[0].astype(np.float64) - low) / (high - low), 0, 1), meta


def test_every_reported_case_is_expected_here() -> None:
    assert {path.name for path in shared_case("reports").iterdir()} == {*READ, *OTHERS, *REFUSED}


def test_reported_cases_have_the_right_pixels_and_say_what_is_odd() -> None:
    control, _ = read(shared_case("reports/00_control.dcm"))
    with collected() as case:
        for name, (warned, tolerance) in READ.items():
            with case(name):
                display, meta = read(shared_case(f"reports/{name}"))
                assert np.abs(display - control).max() <= tolerance and np.abs(display - control).mean() <= 0.01
                assert re.search(warned, meta["warnings"]) and bool(warned) == bool(meta["warnings"])


def test_reported_cases_with_pixels_of_their_own() -> None:
    control, _ = read(shared_case("reports/00_control.dcm"))
    with collected() as case:
        for name, (warned, shape) in OTHERS.items():
            with case(name):
                display, meta = read(shared_case(f"reports/{name}"))
                assert display.shape == shape and display.std() > 0.1
                assert warned in meta["warnings"]
                like = control if shape == control.shape else control[:, ::2]
                sign = -1 if name.startswith("64") else 1
                assert sign * np.corrcoef(display.ravel(), like.ravel())[0, 1] > 0.9
                assert meta["pixel_aspect"] == (0.5 if name.startswith("13") else 1.0)
                assert math.isnan(meta["display_slope"]) != name.startswith("13")


def test_hostile_cases_are_refused_with_what_is_wrong() -> None:
    assert {path.name for path in shared_case("hostile").iterdir()} == set(HOSTILE)
    with collected() as case:
        for name, found in HOSTILE.items():
            with case(name), pytest.raises(InputRefused, match=found):
                read(shared_case(f"hostile/{name}"))


def test_reported_cases_that_are_refused() -> None:
    with collected() as case:
        for name, found in REFUSED.items():
            with case(name), pytest.raises(InputRefused, match=found):
                read(shared_case(f"reports/{name}"))
        for name in CONCERNS:
            with case(name, "strict"), pytest.raises(InputRefused, match="strict reader"):
                read(shared_case(f"reports/{name}"), strict=True)
        with case("other name of the chest"):
            assert read(shared_case("reports/18e_torax.dcm"), strict=True)[1]["body_part"] == "CHEST"
