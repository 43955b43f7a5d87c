"""Kinds of files that hospitals send and that contradict or lack something: the right pixels, and what is said of it.

Each file holds one picture. What the network would see of it is compared with the picture itself.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.transforms import Compose, Resized
from monai.transforms.io.dictionary import LoadImaged
from PIL import Image
from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.display_fit import range_fit, range_in_use
from monai_robustinterp.io.read.header_text import parse_header
from monai_robustinterp.io.read.reader import ChestXRayReader
from monai_robustinterp.transforms import CropCenterSquared, InvertSaliencyd, ScaleDisplayRanged
from tests.support.cases import collected
from tests.support.dicom_factory import chest_like, make_dx

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader", "ignore:.*nvImageCodec")

Change = Callable[[Dataset], None]
Pixels = npt.NDArray[Any]
PICTURE = chest_like()
SHOWN = PICTURE / 4095
NO_WINDOW = {"WindowCenter": None, "WindowWidth": None}
IDENTITY = np.arange(4096).astype("<u2")


def read(path: Path, *, strict: bool = False) -> tuple[Pixels, dict[str, Any], str]:
    """Clipped display values [H, W], metadata and all that was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        array, meta = ChestXRayReader(strict=strict).get_data(str(path))
    said = "; ".join(str(warning.message) for warning in caught if warning.category is UserWarning)
    assert meta["warnings"] in said
    low, high = meta["display_min"], meta["display_max"]
    return np.clip((array[0].astype(np.float64) - low) / (high - low), 0, 1), meta, meta["warnings"]


def changed(change: Change, **options: Any) -> Callable[[Path], Path]:
    """Makes a file and changes its data set."""

    def make(folder: Path) -> Path:
        path = make_dx(folder / "image.dcm", **({"cr": True} | options))
        dataset = dcmread(path)
        change(dataset)
        dataset.save_as(path)
        return path

    return make


def with_elements(**elements: Any) -> Callable[[Path], Path]:
    return lambda folder: make_dx(folder / "image.dcm", cr=True, elements=elements)


def table(entries: Pixels, first: int, bits: int, *, count: int | None = None, vr: str = "US") -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [(entries.size if count is None else count) % 65536, first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return item


def lut(keyword: str, *items: Dataset, **options: Any) -> Callable[[Path], Path]:
    def change(dataset: Dataset) -> None:
        setattr(dataset, keyword, list(items))
        for window in NO_WINDOW:
            dataset.pop(window, None)

    return changed(change, **options)


def claims_16_bits(dataset: Dataset) -> None:
    dataset.BitsStored, dataset.HighBit = 16, 15


def no_window_16_bits(dataset: Dataset) -> None:
    claims_16_bits(dataset)
    del dataset.WindowCenter, dataset.WindowWidth


def signed_16_bits(dataset: Dataset) -> None:
    """Values of 12 signed bits in a header of 16, shown as they are."""
    no_window_16_bits(dataset)
    dataset.PixelRepresentation = 1
    dataset.PixelData = (PICTURE.astype(np.int16) - 2048).astype("<i2").tobytes()


def png16(folder: Path) -> Path:
    Image.fromarray(PICTURE).save(folder / "image.png")
    return folder / "image.png"


def tinted_jpeg(folder: Path) -> Path:
    gray = (PICTURE // 16).astype(np.uint8)
    tinted = np.dstack([gray, gray, np.minimum(gray.astype(int) + 4, 255).astype(np.uint8)])
    Image.fromarray(tinted).save(folder / "image.jpg", quality=95)
    return folder / "image.jpg"


def in_color(dataset: Dataset) -> None:
    """As captures do it: the window of the source is still there."""
    gray = (PICTURE // 16).astype(np.uint8)
    dataset.SOPClassUID, dataset.SamplesPerPixel, dataset.PlanarConfiguration = uid.SecondaryCaptureImageStorage, 3, 0
    dataset.PhotometricInterpretation = "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = np.dstack([gray] * 3).tobytes()


def left_aligned(dataset: Dataset) -> None:
    dataset.HighBit = 15
    dataset.PixelData = (PICTURE << 4).astype("<u2").tobytes()


def left_aligned_with_overlay_bits(dataset: Dataset) -> None:
    dataset.HighBit = 15
    dataset.PixelData = ((PICTURE << 4) | 1).astype("<u2").tobytes()


def set_high_bit(bit: int) -> Change:
    def change(dataset: Dataset) -> None:
        dataset.HighBit = bit

    return change


def without_preamble(folder: Path) -> Path:
    dataset = dcmread(make_dx(folder / "image.dcm", cr=True))
    dataset.file_meta, dataset.preamble = FileMetaDataset(), None
    dcmwrite(folder / "image", dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert (folder / "image").read_bytes()[128:132] != b"DICM"
    return folder / "image"


def without_preamble_explicit(folder: Path) -> Path:
    content = make_dx(folder / "image.dcm", cr=True).read_bytes()
    (folder / "image").write_bytes(content[132:])
    return folder / "image"


def without_syntax(folder: Path) -> Path:
    dataset = dcmread(make_dx(folder / "image.dcm", cr=True))
    dataset.file_meta = FileMetaDataset()
    dcmwrite(folder / "image", dataset, implicit_vr=True, little_endian=True, enforce_file_format=False)
    content = (folder / "image").read_bytes()
    meta = b"\2\0\0\0UL\4\0\x0e\0\0\0" + b"\2\0\1\0OB\0\0\2\0\0\0\0\1"
    if content[128:132] == b"DICM":
        content = content[132:]
    (folder / "image").write_bytes(bytes(128) + b"DICM" + meta + content)
    return folder / "image"


def frame_groups(dataset: Dataset) -> None:
    """The window, rescale and spacing of the one frame, where enhanced objects have them."""
    window, values, spacing = Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 5048, 4096
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, 3000, "US"
    spacing.PixelSpacing = [0.3, 0.303]
    shared, frame = Dataset(), Dataset()
    shared.PixelMeasuresSequence, shared.FrameVOILUTSequence = [spacing], [window]
    frame.PixelValueTransformationSequence = [values]
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], [frame]
    dataset.NumberOfFrames = 1
    del dataset.WindowCenter, dataset.WindowWidth, dataset.PixelSpacing


def without_photometric(dataset: Dataset) -> None:
    del dataset.PhotometricInterpretation
    dataset.PresentationLUTShape = "IDENTITY"


def without_samples(dataset: Dataset) -> None:
    del dataset.SamplesPerPixel


SIXTEEN_IN_TWELVE = "16 bits are claimed and all pixel values lie in 12"
MISFIT = r"does not fit the pixels: \d+% of them"
# name -> (maker, words of the warnings, why there is no slope; "" if there is one)
KINDS: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "PNG of 16 bits": (png16, SIXTEEN_IN_TWELVE, "bits that the pixels use"),
    "16 bits without window": (changed(no_window_16_bits), SIXTEEN_IN_TWELVE, "bits that the pixels use"),
    "16 bits, MONOCHROME1": (changed(no_window_16_bits, mono1=True), SIXTEEN_IN_TWELVE, "bits that the pixels use"),
    "16 signed bits": (changed(signed_16_bits), SIXTEEN_IN_TWELVE, "bits that the pixels use"),
    "16 bits with window": (changed(claims_16_bits), "^$", ""),
    "VOI table claims 16 bits": (
        lut("VOILUTSequence", table(IDENTITY, 0, 16)),
        "claims outputs of 16 bits and its entries reach 4095",
        "lookup table",
    ),
    "modality table claims 16 bits": (
        lut("ModalityLUTSequence", table(IDENTITY, 0, 16)),
        "claims outputs of 16 bits",
        "lookup table",
    ),
    "table claims fewer bits": (
        lut("VOILUTSequence", table(IDENTITY, 0, 10)),
        "claims outputs of 10 bits and its entries reach 4095",
        "lookup table",
    ),
    "table claims no bits": (lut("VOILUTSequence", table(IDENTITY, 0, 0)), "claims outputs of 0 bits", "lookup table"),
    "table claims 60000 bits": (
        lut("VOILUTSequence", table(IDENTITY, 0, 60_000)),
        "claims outputs of no possible number of bits",
        "lookup table",
    ),
    "table of 65536 entries, few in use": (
        lut("ModalityLUTSequence", table(np.arange(65536).astype("<u2"), 0, 16)),
        SIXTEEN_IN_TWELVE,
        "lookup table",
    ),
    "table one entry short": (
        lut("VOILUTSequence", table(IDENTITY, 0, 12, count=4097)),
        "one entry less than its descriptor says",
        "lookup table",
    ),
    "empty table": (changed(lambda d: setattr(d, "VOILUTSequence", [Dataset()])), "table 1 of 1 is empty", ""),
    "empty modality table": (
        changed(lambda d: setattr(d, "ModalityLUTSequence", [Dataset()])),
        "ModalityLUTSequence has an empty item",
        "",
    ),
    "window below the pixels": (with_elements(WindowCenter=-500, WindowWidth=80), MISFIT, "does not fit"),
    "window above the pixels": (with_elements(WindowCenter=30_000, WindowWidth=2000), MISFIT, "does not fit"),
    "window of 8 bits": (with_elements(WindowCenter=127, WindowWidth=255), MISFIT, "does not fit"),
    "sigmoid window off the pixels": (
        with_elements(WindowCenter=30_000, WindowWidth=2000, VOILUTFunction="SIGMOID"),
        MISFIT,
        "does not fit",
    ),
    "second window fits": (
        with_elements(WindowCenter=[30_000, 2048], WindowWidth=[2000, 4096]),
        MISFIT,
        "does not fit",
    ),
    "table off the pixels, then a window": (
        changed(lambda d: setattr(d, "VOILUTSequence", [table(IDENTITY, 60_000, 12)])),
        MISFIT,
        "does not fit",
    ),
    "high bit 15, shifted": (changed(left_aligned), "shifted right by 4 bits", "HighBit contradicts"),
    "high bit 15, shifted, bits below": (
        changed(left_aligned_with_overlay_bits),
        "shifted right by 4 bits",
        "HighBit contradicts",
    ),
    "high bit 15, not shifted": (changed(set_high_bit(15)), "no pixel has a bit above", "HighBit contradicts"),
    "high bit missing": (with_elements(HighBit=None), "^$", ""),
    "high bit of 12 of 16 bits": (
        changed(lambda d: (no_window_16_bits(d), setattr(d, "HighBit", 11))[0]),  # type: ignore[func-returns-value]
        "HighBit is 11 with 16 bits stored: 12 bits are read",
        "HighBit contradicts",
    ),
    "no preamble": (without_preamble, "no DICOM preamble.*states no transfer syntax", ""),
    "no preamble, but a meta header": (without_preamble_explicit, "no DICOM preamble and prefix", ""),
    "no transfer syntax": (without_syntax, "states no transfer syntax: .* Implicit VR Little Endian", ""),
    "photometric interpretation follows": (changed(without_photometric), "MONOCHROME2 follows from", ""),
    "samples follow": (changed(without_samples), "SamplesPerPixel is missing", ""),
    "functional groups of one frame": (changed(frame_groups), "^$", ""),
}


def test_the_right_pixels_and_a_warning(tmp_path_factory: pytest.TempPathFactory) -> None:
    with collected() as case:
        for name, (make, warned, reason) in KINDS.items():
            with case(name):
                display, meta, said = read(make(tmp_path_factory.mktemp("case")))
                np.testing.assert_allclose(display, SHOWN, atol=1e-6)
                assert re.search(warned, said), said
                assert reason in meta["display_slope_reason"] and math.isnan(meta["display_slope"]) == bool(reason)


def baseline_ybr(folder: Path) -> Path:
    """A capture as lossy JPEG in color."""
    stream = io.BytesIO()
    Image.fromarray(np.dstack([(PICTURE // 16).astype(np.uint8)] * 3)).save(stream, "JPEG", quality=95)

    def compress(dataset: Dataset) -> None:
        in_color(dataset)
        dataset.PhotometricInterpretation = "YBR_FULL_422"
        dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].is_undefined_length = True

    return changed(compress)(folder)


def test_color_with_equal_or_nearly_equal_channels_is_gray(tmp_path_factory: pytest.TempPathFactory) -> None:
    makers = {"RGB": (changed(in_color), 0), "YBR": (baseline_ybr, 30), "tinted JPEG": (tinted_jpeg, 30)}
    with collected() as case:
        for name, (make, levels) in makers.items():
            with case(name):
                display, meta, said = read(make(tmp_path_factory.mktemp("case")))
                difference = np.abs(display * 255 - PICTURE // 16)
                assert difference.max() <= levels and difference.mean() <= 2
                assert "channels" in said and "read as gray" in meta["intensity_path"]
                assert math.isnan(meta["display_slope"]) == (name == "tinted JPEG")


def test_a_first_value_of_a_table_in_the_wrong_sign(tmp_path: Path) -> None:
    entries = np.rint(np.arange(20_001) / 20_000 * 65_535).astype("<u2")

    def change(dataset: Dataset) -> None:
        no_window_16_bits(dataset)
        dataset.PixelData = np.rint(40_000 + SHOWN * 20_000).astype("<u2").tobytes()
        dataset.VOILUTSequence = [table(entries, 40_000 - 65_536, 16, vr="SS")]

    display, _, said = read(changed(change)(tmp_path))
    np.testing.assert_allclose(display, SHOWN, atol=1e-4)
    assert "first value is signed for unsigned values" in said


def test_frame_groups_give_spacing_and_rescale(tmp_path: Path) -> None:
    array, meta = ChestXRayReader().get_data(str(changed(frame_groups)(tmp_path)))
    np.testing.assert_array_equal(array[0], PICTURE + 3000.0)
    assert meta["spacing_mm"].tolist() == [0.3, 0.303]


def test_a_header_without_preamble_travels(tmp_path: Path) -> None:
    path = without_preamble(tmp_path)
    _, meta, _ = read(path)
    assert parse_header(meta["dicom_header"]).StudyInstanceUID == meta["study_instance_uid"] != ""
    assert meta["transfer_syntax_uid"] == uid.ImplicitVRLittleEndian


def compressed_without_syntax(folder: Path) -> Path:
    path = make_dx(folder / "image.dcm", cr=True, transfer_syntax=uid.RLELossless)
    content = path.read_bytes()
    syntax = content.index(b"1.2.840.10008.1.2.5")
    path.write_bytes(content[:syntax] + bytes(20) + content[syntax + 20 :])
    return path


def colored(dataset: Dataset) -> None:
    in_color(dataset)
    pixels = np.dstack([(PICTURE // 16).astype(np.uint8)] * 3)
    pixels[50, 60] = (100, 100, 120)
    dataset.PixelData = pixels.tobytes()


def test_what_has_no_one_reading_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    short = table(IDENTITY[:-2], 0, 12, count=4096)
    makers: dict[str, tuple[Callable[[Path], Path], str]] = {
        "no photometric interpretation": (
            with_elements(PhotometricInterpretation=None),
            "PhotometricInterpretation is",
        ),
        "compressed without syntax": (compressed_without_syntax, "transfer syntax is missing"),
        "table two entries short": (lut("VOILUTSequence", short), "table .* malformed"),
        "words taken for bytes": (lut("VOILUTSequence", table(IDENTITY[:2048], 0, 12, count=4096)), "malformed"),
        "high bit above the allocated": (changed(set_high_bit(16)), "HighBit 16"),
        "color": (changed(colored), "in color"),
        "pixels five times as high as wide": (with_elements(PixelSpacing=[1.0, 0.2]), "5 times as high as wide"),
    }
    with collected() as case:
        for name, (make, found) in makers.items():
            with case(name):
                path = make(tmp_path_factory.mktemp("case"))
                with pytest.raises(InputRefused, match=found):
                    read(path)


def test_compressed_pixels_without_syntax_stay_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="missing"):
        read(compressed_without_syntax(tmp_path))


# What is shown, and how far it holds ----------------------------------------------------------------------------------


def test_the_margin_of_a_range_is_reached_by_no_smaller_change() -> None:
    random = np.random.default_rng(0)
    once = np.ones(2000, dtype=np.int64)
    flat = 0.5 + 0.03 * random.standard_normal(2000)
    clipped = np.where(random.random(2000) < 0.85, 0.0, random.uniform(0.01, 1, 2000))
    with collected() as case:
        for name, values in (("flat", flat), ("clipped", clipped)):
            with case(name):
                fit = range_fit(values, once, 0.0, 1.0)
                assert fit.fits and fit.margin > 0
                to_mean = (values.mean() - values) / np.linalg.norm(values.mean() - values)
                # Those that are nearest to black or white and not there yet, as many as it takes.
                to_end = np.minimum(values, 1 - values) - 1 / 512
                missing = int(np.ceil(0.9 * values.size)) - int((to_end <= 0).sum())
                nearest = np.argsort(np.where(to_end <= 0, np.inf, to_end))[:missing]
                to_clip = np.zeros(values.size)
                to_clip[nearest] = (np.where(values < 0.5, -1, 1) * to_end)[nearest]
                ways = {
                    "flat": (to_mean, 1.001),
                    "clipped": (to_clip / np.linalg.norm(to_clip), 1.05),
                }
                way, slack = ways[name]
                assert range_fit(values + 0.999 * fit.margin * way, once, 0.0, 1.0).fits
                assert not range_fit(values + slack * fit.margin * way, once, 0.0, 1.0).fits


def test_the_margin_of_a_bit_range_is_the_distance_to_the_smaller_one() -> None:
    values, counts = np.array([100, 8191 + 30, 8191 + 40]), np.array([62, 4, 4])
    whole = range_in_use(values, counts, bits=16, signed=False)
    assert (whole.low, whole.high, whole.bits, whole.margin) == (0, 65535, 16, 100)
    assert range_in_use(np.minimum(values, 8191), counts, bits=16, signed=False).high == 8191
    assert range_in_use(values - 4096, counts, bits=16, signed=True).low == -32768
    assert range_in_use(np.minimum(values, 8191) - 4096, counts, bits=16, signed=True).low == -4096
    counts[1:] = 0  # what does not count is not looked at
    assert range_in_use(values, counts, bits=16, signed=False).bits == 8
    assert range_in_use(values, counts, bits=10, signed=False).margin == math.inf


def test_a_range_that_fits_no_better_is_not_taken(tmp_path: Path) -> None:
    """A film that is nearly flat: its own window shows more of it than the bits do."""
    flat = 2000 + (PICTURE % 50)
    elements = {"WindowCenter": 2025, "WindowWidth": 2000}
    _, meta, said = read(make_dx(tmp_path / "image.dcm", pixels=flat, elements=elements))
    assert (meta["display_min"], meta["display_max"]) == (1025.0, 3024.0)
    assert re.search(MISFIT, said) and "does not fit" in meta["display_slope_reason"]


def test_a_window_that_shows_as_much_as_the_bits_is_not_taken(tmp_path: Path) -> None:
    """It is as wide as they are: round-off must not decide."""
    for number in range(20):
        flat = 2000 + PICTURE[: 100 + number] % 50
        elements = {"WindowCenter": 2000 + 5.3 * number, "WindowWidth": 4096}
        _, meta, said = read(make_dx(tmp_path / "image.dcm", pixels=flat, elements=elements))
        assert (meta["display_min"], meta["display_max"]) == (0.0, 4095.0), number
        assert "the full 12-bit range is shown" in said


def test_padding_that_jpeg_smeared_is_padding(tmp_path: Path) -> None:
    gray = (PICTURE // 16).astype(np.uint8)
    gray[-83:] = 255  # stored as 0 below
    stream = io.BytesIO()
    Image.fromarray(255 - gray).save(stream, "JPEG", quality=75)

    def compress(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
        dataset.PixelData = encapsulate([stream.getvalue()])
        dataset["PixelData"].is_undefined_length = True
        dataset.add_new("PixelPaddingValue", "US", 0)

    make = changed(compress, mono1=True, bits_stored=8, bits_allocated=8, pixels=gray)
    smeared = np.asarray(Image.open(stream))[-83:]
    assert (smeared > 0).any()
    display, _, said = read(make(tmp_path))
    assert "lossy compression smeared the padding" in said
    assert (display[-83:][smeared <= 4] == 0).all() and (smeared <= 4).mean() > 0.98
    assert (display[:-91] > 0).mean() > 0.98  # the white marker is at the padding value, too


# Pixels that are not square -------------------------------------------------------------------------------------------


def narrow(folder: Path, **elements: Any) -> Path:
    """Every second column of a square picture: pixels twice as wide as high."""
    pixels = chest_like(256, 256)[:, ::2]
    return make_dx(folder / "narrow.dcm", pixels=pixels, cr=True, elements={"PixelSpacing": None} | elements)


def test_pixels_that_are_not_square_reach_the_network_square_and_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    chain = Compose(
        [
            LoadImaged("image", reader=ChestXRayReader()),  # type: ignore[arg-type]
            ScaleDisplayRanged("image"),
            CropCenterSquared("image"),
            Resized("image", spatial_size=(64, 64), mode="area"),
        ]
    )
    square = make_dx(tmp_path_factory.mktemp("square") / "square.dcm", cr=True, pixels=chest_like(256, 256))
    expected = chain({"image": str(square)})["image"].numpy()
    ways = ({"PixelSpacing": [0.2, 0.4]}, {"PixelAspectRatio": [1, 2]}, {"ImagerPixelSpacing": [0.1, 0.2]})
    with collected() as case:
        for elements in ways:
            with case(elements):
                path = narrow(tmp_path_factory.mktemp("case"), **elements)
                with pytest.warns(UserWarning, match="0.5 times as high as wide"):
                    image = chain({"image": str(path)})["image"]
                assert image.meta["pixel_aspect"] == 0.5
                assert np.abs(image.numpy() - expected).mean() < 0.02
                back = InvertSaliencyd("image", chain, orig_keys="image")({"image": image})["image"]
                assert back.shape == (1, 256, 128)
                source = (chest_like(256, 256)[:, ::2] / 4095)[::4, ::2]
                assert np.corrcoef(back[0].numpy()[2::4, 1::2].ravel(), source.ravel())[0, 1] > 0.95


def test_a_nifti_states_its_pixels_in_mm(tmp_path: Path) -> None:
    for rows_mm, found in ((0.4, 2.0), (0.202, 1.0)):
        image = nib.Nifti1Image((PICTURE // 16).astype(np.uint8).T, np.diag([-0.2, -rows_mm, 1, 1]))
        nib.save(image, tmp_path / "image.nii")  # type: ignore[no-untyped-call]
        _, meta, said = read(tmp_path / "image.nii")
        assert meta["pixel_aspect"] == pytest.approx(found) and ("as high as wide" in said) == (found != 1)


def test_the_crop_of_wide_pixels_is_square_in_mm(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "wide.dcm", cr=True, rows=100, cols=200, elements={"PixelSpacing": [0.2, 0.1]})
    with pytest.warns(UserWarning, match="2 times as high as wide"):
        loaded = LoadImaged("image", reader=ChestXRayReader())({"image": str(path)})  # type: ignore[arg-type]
    assert CropCenterSquared("image")(loaded)["image"].shape == (1, 100, 200)
    torch_only = CropCenterSquared("image")({"image": torch.zeros(1, 100, 200)})["image"]
    assert torch_only.shape == (1, 100, 100)


# Shutters and overlays ------------------------------------------------------------------------------------------------


def shut(folder: Path, **elements: Any) -> tuple[npt.NDArray[Any], dict[str, Any], str]:
    return read(make_dx(folder / "shut.dcm", pixels=chest_like(256, 224), cr=True, elements=elements))


def test_what_a_shutter_covers_is_black_and_its_edges_are_seen(tmp_path_factory: pytest.TempPathFactory) -> None:
    rows, columns = np.mgrid[1:257, 1:225]
    rectangle = {
        "ShutterUpperHorizontalEdge": 11,
        "ShutterLowerHorizontalEdge": 200,
        "ShutterLeftVerticalEdge": 21,
        "ShutterRightVerticalEdge": 180,
    }
    circle = {"CenterOfCircularShutter": [120, 100], "RadiusOfCircularShutter": 90}
    corners = {"VerticesOfThePolygonalShutter": [11, 21, 11, 180, 200, 180, 200, 21]}
    in_rectangle = (rows >= 11) & (rows <= 200) & (columns >= 21) & (columns <= 180)
    in_circle = (rows - 120) ** 2 + (columns - 100) ** 2 <= 90**2
    kinds = (
        ({"ShutterShape": "RECTANGULAR"} | rectangle, in_rectangle),
        ({"ShutterShape": "CIRCULAR"} | circle, in_circle),
        ({"ShutterShape": "POLYGONAL"} | corners, in_rectangle),
        ({"ShutterShape": ["CIRCULAR", "RECTANGULAR"]} | rectangle | circle, in_circle & in_rectangle),
    )
    with collected() as case:
        for elements, seen in kinds:
            with case(elements["ShutterShape"]):
                array, meta, said = shut(tmp_path_factory.mktemp("case"), **elements)
                np.testing.assert_allclose(array, np.where(seen, chest_like(256, 224) / 4095, 0), atol=1e-6)
                assert meta["intensity_path"].endswith("shutter set to black") and "shutter" not in said
                assert meta["display_slope"] == pytest.approx(1 / 4095)


def test_a_shutter_that_is_none_is_ignored_with_a_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    kinds = (
        {"ShutterShape": "BITMAP"},
        {"ShutterShape": "CIRCULAR", "RadiusOfCircularShutter": 90},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [900, 900], "RadiusOfCircularShutter": 9},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [9, 9], "RadiusOfCircularShutter": 2**31 - 1},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 2, 3]},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, -(2**31), 9, 9, 2**31 - 1]},
    )
    with collected() as case:
        for elements in kinds:
            with case(elements):
                array, _, said = shut(tmp_path_factory.mktemp("case"), **elements)
                np.testing.assert_allclose(array, chest_like(256, 224) / 4095, atol=1e-6)
                assert "a display shutter of the header" in said and "is ignored" in said


def test_an_overlay_in_the_high_bits_is_no_part_of_the_pixels(tmp_path: Path) -> None:
    path = make_dx(tmp_path / "overlay.dcm", pixels=chest_like(256, 224), cr=True)
    dataset = dcmread(path)
    stored = np.frombuffer(dataset.PixelData, dtype=np.uint16).copy()
    stored[::7] |= 1 << 12
    dataset.PixelData = stored.tobytes()
    for element, representation, value in ((0x10, "US", 256), (0x11, "US", 224), (0x100, "US", 16), (0x102, "US", 12)):
        dataset.add_new((0x6000, element), representation, value)
    dataset.save_as(path)
    np.testing.assert_allclose(read(path)[0], chest_like(256, 224) / 4095, atol=1e-6)
