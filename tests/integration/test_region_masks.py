"""Mask files on real and synthetic images: right side up, or refused; and nothing of a header in names and messages."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import config, uid
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sr.codedict import codes

import monai_robustinterp
from monai_robustinterp.bundle import load_bundle
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.regions import parse_region, region_on_cells
from monai_robustinterp.io import ChestXRayReader
from tests.support.bundles import OPACITY
from tests.support.cases import collected
from tests.support.dicom_factory import make_dx

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_data"
ITK = np.diag([-1.0, -1.0, 1.0, 1.0])  # of an image without a position


def draw(mask: Path | str, source: Path) -> tuple[str, np.ndarray]:
    """Name and pixels of a mask on an image."""
    return parse_region(f"mask:{mask}").draw(ChestXRayReader().get_data(source)[1])


def refusal(mask: Path | str, source: Path) -> str:
    with pytest.raises(InputRefused) as error:
        draw(mask, source)
    assert "SECRET" not in str(error.value) and str(Path(str(mask)).parent) not in str(error.value)
    return str(error.value)


def blob(rows: int, columns: int) -> np.ndarray:
    """A mask [rows, columns] that no flip, turn or shift leaves as it is."""
    mask = np.zeros((rows, columns), np.uint8)
    mask[rows // 8 : rows // 2, columns // 9 : columns // 3] = 1
    mask[rows // 8 : rows // 4, columns // 9 : columns // 2] = 1
    mask[5, 7] = 1
    return mask


def save_nifti(path: Path, plane: np.ndarray, affine: np.ndarray | None, **options) -> Path:
    """Writes [columns, rows, 1]."""
    nib.save(options.get("kind", nib.Nifti1Image)(plane.T[..., None], affine), path)
    return path


# ---- NIfTI


ORIENTATIONS = [
    np.array([[axes[0], flips[0]], [axes[1], flips[1]], [2, 1]])
    for axes in ((0, 1), (1, 0))
    for flips in itertools.product((1, -1), repeat=2)
]


def test_a_mask_in_another_orientation_of_a_nifti_image_comes_out_right(tmp_path_factory) -> None:
    """Bright pixels of an image without symmetry, saved as a mask that is stored in each of the eight ways."""
    with collected() as case:
        for orientation, source_orientation in itertools.product(ORIENTATIONS, ORIENTATIONS[::3]):
            with case(orientation, source_orientation):
                tmp_path = tmp_path_factory.mktemp("case")
                film = Image.open(SAMPLES / "kermany_person1949_bacteria_4880.jpeg")
                picture = np.asarray(film.crop((900, 200, 1200, 400)))
                affine = np.array([[-0.203, 0, 0, 11], [0, -0.2, 0, -5], [0, 0, 1, 3], [0, 0, 0, 1]])
                upright = nib.Nifti1Image(picture.T[..., None], affine)
                source = tmp_path / "image.nii.gz"
                nib.save(upright.as_reoriented(source_orientation), source)
                bright = nib.Nifti1Image((picture > 140).astype(np.uint8).T[..., None], affine)
                nib.save(bright.as_reoriented(orientation), tmp_path / "mask.nii")
                shown = ChestXRayReader().get_data(source)[0][0]
                name, pixels = draw(tmp_path / "mask.nii", source)
                assert shown.shape == (200, 300) and np.array_equal(pixels, shown > 140)
                digest = hashlib.sha256(pixels.astype(np.uint8).tobytes()).hexdigest()
                assert name == f"mask (NIfTI), SHA-256 {digest[:16]}"


@pytest.mark.parametrize(
    "source",
    [
        "kermany_person1951_bacteria_4882_dx.dcm",
        "wg04_rg1_multiple_masses.dcm",
        "kermany_person1949_bacteria_4880.jpeg",
    ],
)
def test_a_mask_as_itk_writes_it_lies_on_an_image_without_a_position(tmp_path, source) -> None:
    """ITK reads such an image with columns = L, rows = P and its first pixel at the origin, in mm of its own."""
    rows, columns = ChestXRayReader().get_data(SAMPLES / source)[1]["spatial_shape"]
    mask = blob(rows, columns)
    image = nib.Nifti1Image(mask.T[..., None], np.diag([-0.139, -0.139, 1, 1]))
    nib.save(image, tmp_path / "itk.nii.gz")
    nib.save(nib.as_closest_canonical(image), tmp_path / "canonical.nii.gz")
    nib.save(nib.Nifti2Image(mask.T.astype(np.float32), ITK), tmp_path / "two_axes.nii")
    turned = np.array([[0, 0, -1.0, 0], [-0.2, 0, 0, 0], [0, -0.2, 0, 0], [0, 0, 0, 1]])  # columns = P, rows = feet
    upright = np.array([[-0.2, 0, 0, 0], [0, 0, 1, 0], [0, -0.2, 0, 0], [0, 0, 0, 1]])
    save_nifti(tmp_path / "to_the_feet.nii", mask, upright)
    save_nifti(tmp_path / "from_the_side.nii", mask, turned)
    names = set()
    for path in tmp_path.iterdir():
        name, pixels = draw(path, SAMPLES / source)
        assert np.array_equal(pixels, mask == 1), path.name
        names.add(name)
    assert len(names) == 1


def shifted(affine: np.ndarray, by: float) -> np.ndarray:
    moved = affine.copy()
    moved[0, 3] += by
    return moved


def test_a_mask_that_may_be_flipped_or_shifted_is_refused(tmp_path_factory) -> None:
    """The NIfTI image has the affine of ITK; all these masks are square and would pass for one of the image."""
    every_affine = [
        np.eye(4),
        np.diag([-1, 1, 1, 1]),
        np.diag([1, -1, 1, 1]),
        shifted(ITK, 1),
        shifted(ITK, -0.5),
        None,
        "swapped",
    ]
    mask, axes = blob(250, 250), np.array([[0, 1.0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with collected() as case:
        for affine, kind in itertools.product(every_affine, ["DICOM", "NIfTI"]):
            with case(affine, kind):
                tmp_path = tmp_path_factory.mktemp("case")
                if kind == "DICOM":
                    source = make_dx(tmp_path / "image.dcm", rows=250, cols=250)
                else:
                    source = save_nifti(tmp_path / "image.nii.gz", mask * 200 + 5, ITK)
                path = save_nifti(tmp_path / "SECRET.nii.gz", mask, axes if isinstance(affine, str) else affine)
                assert "place" in refusal(path, source)
                assert np.array_equal(draw(save_nifti(path, mask, shifted(ITK, 0.01)), source)[1], mask == 1)


def test_the_place_is_compared_in_pixels(tmp_path) -> None:
    mask, source = blob(131, 97), make_dx(tmp_path / "image.dcm", rows=131, cols=97)
    for spacing in (0.05, 5.0):
        affine = np.diag([-spacing, -spacing, 1, 1])
        near = save_nifti(tmp_path / "near.nii", mask, shifted(affine, 0.05 * spacing))
        assert np.array_equal(draw(near, source)[1], mask == 1)
        assert "place" in refusal(save_nifti(tmp_path / "far.nii", mask, shifted(affine, 0.5 * spacing)), source)


def test_where_neither_states_an_orientation_both_are_read_as_stored(tmp_path) -> None:
    mask = blob(90, 70)
    source = save_nifti(tmp_path / "image.nii", mask * 200 + 5, None)
    name, pixels = draw(save_nifti(tmp_path / "mask.nii", mask, None), source)
    assert name.startswith("mask (NIfTI)") and np.array_equal(pixels, mask == 1)
    # nibabel makes up an affine for such an image; with its header, which says so, the mask states none either.
    image, stored = nib.load(source), mask.T[..., None]
    nib.save(nib.Nifti1Image(stored, image.affine, image.header), tmp_path / "mask.nii")
    assert np.array_equal(draw(tmp_path / "mask.nii", source)[1], mask == 1)
    nib.save(nib.Nifti1Image(stored, image.affine), tmp_path / "mask.nii")
    assert "place" in refusal(tmp_path / "mask.nii", source)
    assert "place" in refusal(save_nifti(tmp_path / "mask.nii", mask, ITK), source)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda mask: mask * 2, r"\d+ of 62500 pixels of the mask are neither 0 nor 1"),
        (lambda mask: np.where(mask, np.nan, 0), "neither 0 nor 1"),
        (lambda mask: mask * 0.5, "neither 0 nor 1"),
        (lambda mask: mask[:-1], "249 rows and 250 columns and the image 250 and 250"),
        (lambda mask: np.stack([mask, mask]), "two axes longer than 1"),
        (lambda mask: mask + 1j, "one real number a pixel"),
    ],
    ids=["labels", "NaN", "fractions", "other size", "two slices", "complex"],
)
def test_what_is_no_binary_mask_of_the_image_is_refused(tmp_path, change, reason) -> None:
    source = make_dx(tmp_path / "image.dcm", rows=250, cols=250)
    changed = change(blob(250, 250).astype(np.float32))
    nib.save(nib.Nifti1Image(changed.T if changed.ndim == 3 else changed.T[..., None], ITK), tmp_path / "SECRET.nii")
    assert re.search(reason, refusal(tmp_path / "SECRET.nii", source))


def test_what_is_no_mask_file_is_refused(tmp_path) -> None:
    source = make_dx(tmp_path / "image.dcm")
    save_nifti(tmp_path / "SECRET.nii.gz", blob(256, 224), ITK)
    good = (tmp_path / "SECRET.nii.gz").read_bytes()
    for content, reason in (
        ((SAMPLES / "kermany_person1949_bacteria_4880.jpeg").read_bytes(), "neither NIfTI nor DICOM"),
        (b"", "neither NIfTI nor DICOM"),
        (good[:9], "neither NIfTI nor DICOM"),
        (good[: len(good) // 2], "neither NIfTI nor DICOM|could not be read"),
        (b"\x1f\x8b" + b"x" * 600, "neither NIfTI nor DICOM"),
        (source.read_bytes(), "SegmentationType missing"),
    ):
        (tmp_path / "SECRET.nii.gz").write_bytes(content)
        assert re.search(reason, refusal(tmp_path / "SECRET.nii.gz", source))
    assert "could not be opened" in refusal(tmp_path / "SECRET_2", source)
    assert "could not be opened" in refusal(tmp_path, source)
    (tmp_path / "SECRET.nii.gz").write_bytes(good)
    assert "leave the number out" in refusal(f"{tmp_path}/SECRET.nii.gz#1", source)


# ---- DICOM Segmentation


def complete(path: Path) -> Dataset:
    """A DICOM image with the attributes that highdicom asks for."""
    image = pydicom.dcmread(path)
    for keyword in ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
        if keyword not in image:
            setattr(image, keyword, "")
    image.PatientName, image.PatientBirthDate, image.PatientSex, image.PatientID = "SECRET^JANE", "", "", "SECRET"
    return image


def segmentation(image: Dataset, masks: np.ndarray, kind: str = "BINARY", **options) -> hd.seg.Segmentation:
    """A segmentation of one image with the masks [rows, columns, segments]."""
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"SECRET {number}",
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Lung,
            algorithm_type="MANUAL",
        )
        for number in range(1, masks.shape[2] + 1)
    ]
    series, instance = uid.generate_uid(), uid.generate_uid()
    return hd.seg.Segmentation(
        [image], masks[None], kind, segments, series, 2, instance, 1, "M", "M", "1", "1", **options
    )


@pytest.mark.parametrize("source", ["kermany_person1951_bacteria_4882_dx.dcm", "wg04_rg1_multiple_masses.dcm"])
def test_a_segmentation_of_a_real_image_comes_back(tmp_path, source) -> None:
    """RG1 has 1955 x 1841 pixels, no multiple of 8: its second frame begins inside a byte."""
    image = complete(SAMPLES / source)
    first = blob(image.Rows, image.Columns)
    masks = np.stack([first, first[::-1, ::-1], first[:, ::-1]], axis=2)
    segmentation(image, masks).save_as(tmp_path / "SECRET.dcm")
    for number in (1, 2, 3):
        name, pixels = draw(f"{tmp_path}/SECRET.dcm#{number}", SAMPLES / source)
        assert np.array_equal(pixels, masks[..., number - 1] == 1)
        digest = hashlib.sha256(masks[..., number - 1].tobytes()).hexdigest()[:16]
        assert name == f"mask (DICOM SEG, segment {number}), SHA-256 {digest}"
    assert "segments 1, 2, 3, and none was chosen" in refusal(tmp_path / "SECRET.dcm", SAMPLES / source)
    assert "segments 1, 2, 3, and number 4" in refusal(f"{tmp_path}/SECRET.dcm#4", SAMPLES / source)
    # The same pixels as NIfTI have the same hash.
    save_nifti(tmp_path / "mask.nii", first, ITK)
    digest = draw(tmp_path / "mask.nii", SAMPLES / source)[0][-16:]
    assert draw(f"{tmp_path}/SECRET.dcm#1", SAMPLES / source)[0].endswith(digest)


COMPRESSIONS = [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless]


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, *COMPRESSIONS])
def test_a_fractional_segmentation_counts_from_one_half(tmp_path, syntax) -> None:
    source = make_dx(tmp_path / "image.dcm", rows=131, cols=98)
    shares = np.linspace(0, 1, 131)[:, None] * np.ones(98)
    made = segmentation(
        complete(source), shares[..., None], "FRACTIONAL", max_fractional_value=200, transfer_syntax_uid=syntax
    )
    made.save_as(tmp_path / "seg.dcm")
    pixels = draw(tmp_path / "seg.dcm", source)[1]
    assert not pixels[:65].any() and pixels[65:].all()  # row 65 has 0.5


@pytest.fixture
def source(tmp_path) -> Path:
    """An image of 131 x 97 pixels."""
    return make_dx(tmp_path / "image.dcm", rows=131, cols=97)


@pytest.fixture
def changed(tmp_path, source) -> Callable[..., Path]:
    """A segmentation of the image, changed by a function of its data set."""

    def make(change: Callable[[Dataset], object], segments: int = 1, kind: str = "BINARY") -> Path:
        masks = np.stack([blob(131, 97), blob(131, 97)[::-1]], axis=2)[..., :segments]
        path = tmp_path / "SECRET.dcm"
        segmentation(complete(source), masks, kind).save_as(path)
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)
        return path

    return make


def frames(dataset: Dataset) -> pydicom.Sequence:
    return dataset.PerFrameFunctionalGroupsSequence


def without_frame_references(dataset: Dataset) -> None:
    for frame in frames(dataset):
        del frame.DerivationImageSequence


def only_source_sequence(dataset: Dataset) -> None:
    without_frame_references(dataset)
    del dataset.ReferencedSeriesSequence


def only_series_sequence(dataset: Dataset) -> None:
    without_frame_references(dataset)
    del dataset.SourceImageSequence


def all_groups_shared(dataset: Dataset) -> None:
    shared, frame = dataset.SharedFunctionalGroupsSequence[0], frames(dataset)[0]
    assert "SegmentIdentificationSequence" in shared
    shared.DerivationImageSequence = frame.DerivationImageSequence
    without_frame_references(dataset)
    del dataset.ReferencedSeriesSequence, dataset.SourceImageSequence


def no_group_shared(dataset: Dataset) -> None:
    shared, frame = dataset.SharedFunctionalGroupsSequence[0], frames(dataset)[0]
    frame.SegmentIdentificationSequence = shared.SegmentIdentificationSequence
    del dataset.SharedFunctionalGroupsSequence


def no_segment_identification(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence


def no_frame_groups(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence, dataset.SharedFunctionalGroupsSequence, dataset.NumberOfFrames


def byte_a_pixel(dataset: Dataset) -> None:
    values = dataset.pixel_array.astype(np.uint8)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = values.tobytes() + b"\0" * (values.size % 2)


def not_stated_preservation(dataset: Dataset) -> None:
    del frames(dataset)[0].DerivationImageSequence[0].SourceImageSequence[0].SpatialLocationsPreserved


TOLERATED = [
    *(only_source_sequence, only_series_sequence, all_groups_shared, no_group_shared, no_segment_identification),
    *(no_frame_groups, byte_a_pixel, not_stated_preservation),
]


def test_segmentations_of_other_writers_are_read(changed, source) -> None:
    with collected() as case:
        for change in TOLERATED:
            with case(change.__name__):
                name, pixels = draw(changed(change), source)
                assert name.startswith("mask (DICOM SEG, segment 1)") and np.array_equal(pixels, blob(131, 97) == 1)


def test_the_frame_is_found_by_image_and_segment_not_by_its_place(changed, source) -> None:
    """A segmentation of two images: the frames of the other image come first, and segments are in another order."""

    def two_images(dataset: Dataset) -> None:
        pixels = [np.zeros((131, 97), np.uint8), *dataset.pixel_array[::-1]]
        other = pydicom.Dataset.from_json(frames(dataset)[0].to_json())
        other.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
        dataset.PerFrameFunctionalGroupsSequence = [other, frames(dataset)[1], frames(dataset)[0]]
        dataset.NumberOfFrames = 3
        dataset.SegmentSequence = dataset.SegmentSequence[::-1]
        dataset.PixelData = pack_bits(np.stack(pixels))

    path = changed(two_images, segments=2)
    assert np.array_equal(draw(f"{path}#1", source)[1], blob(131, 97) == 1)
    assert np.array_equal(draw(f"{path}#2", source)[1], blob(131, 97)[::-1] == 1)


def test_a_segment_that_all_frames_share_is_found(changed, source) -> None:
    def second_segment_only(dataset: Dataset) -> None:
        second = frames(dataset)[1]
        dataset.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence = second.SegmentIdentificationSequence
        del second.SegmentIdentificationSequence
        dataset.PixelData = pack_bits(dataset.pixel_array[1])
        dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = [second], 1

    path = changed(second_segment_only, segments=2)
    assert np.array_equal(draw(f"{path}#2", source)[1], blob(131, 97)[::-1] == 1)
    assert "0 frames of segment 1" in refusal(f"{path}#1", source)


def another_image(dataset: Dataset) -> None:
    frames(dataset)[0].DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def two_possible_images(dataset: Dataset) -> None:
    without_frame_references(dataset)
    dataset.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def frame_twice(dataset: Dataset) -> None:
    dataset.PixelData = pack_bits(np.stack([dataset.pixel_array] * 2))
    dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = [frames(dataset)[0]] * 2, 2


def flipped(dataset: Dataset) -> None:
    sources = frames(dataset)[0].DerivationImageSequence[0].SourceImageSequence
    sources[0].SpatialLocationsPreserved = "REORIENTED_ONLY"


def smaller(dataset: Dataset) -> None:
    dataset.Rows, dataset.PixelData = 130, pack_bits(dataset.pixel_array[:130])


def cut_short(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:-200]


def frames_at_whole_bytes(dataset: Dataset) -> None:
    empty = np.zeros((131, 97), np.uint8)
    dataset.PixelData = b"".join(pack_bits(frame, pad=False) for frame in [dataset.pixel_array] + [empty] * 3)
    dataset.PerFrameFunctionalGroupsSequence, dataset.NumberOfFrames = [frames(dataset)[0]] * 4, 4


def other_values(dataset: Dataset) -> None:
    byte_a_pixel(dataset)
    dataset.PixelData = dataset.PixelData.replace(b"\1", b"\xff")


def one_group_for_two_frames(dataset: Dataset) -> None:
    frame_twice(dataset)
    dataset.PerFrameFunctionalGroupsSequence = [frames(dataset)[0]]


def no_uid_in_the_reference(dataset: Dataset) -> None:
    del frames(dataset)[0].DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID


def another_type(dataset: Dataset) -> None:
    with config.disable_value_validation():
        dataset.SegmentationType = "SECRET label"


REFUSED = [
    (another_image, "0 frames of segment 1 refer to this image"),
    (two_possible_images, "0 frames of segment 1 refer to this image"),
    (frame_twice, "2 frames of segment 1"),
    (flipped, "SpatialLocationsPreserved of the segmentation is REORIENTED_ONLY"),
    (smaller, "130 rows and 97 columns and the image 131 and 97"),
    (cut_short, r"has \d+ bytes; its frames need 1589"),
    (frames_at_whole_bytes, r"has \d+ bytes; its frames need 6354"),
    (other_values, "neither 0 nor 1"),
    (one_group_for_two_frames, "describes 1 frames and has 2"),
    (no_uid_in_the_reference, "AttributeError"),
    (another_type, "SegmentationType not a term"),
]


def test_segmentations_that_may_be_of_something_else_are_refused(changed, source) -> None:
    with collected() as case:
        for change, reason in REFUSED:
            with case(reason):
                assert re.search(reason, refusal(changed(change), source))


def test_fractions_above_their_maximum_are_refused(changed, source) -> None:
    def low_maximum(dataset: Dataset) -> None:
        dataset.MaximumFractionalValue = 100

    assert "the value 255 and MaximumFractionalValue 100" in refusal(changed(low_maximum, kind="FRACTIONAL"), source)


def test_label_maps_and_empty_segments_are_refused(tmp_path, changed, source) -> None:
    assert "LABELMAP" in refusal(changed(lambda dataset: None, kind="LABELMAP"), source)
    masks = np.stack([blob(131, 97), np.zeros((131, 97), np.uint8)], axis=2)
    segmentation(complete(source), masks).save_as(tmp_path / "SECRET.dcm")
    assert "0 frames of segment 2" in refusal(f"{tmp_path}/SECRET.dcm#2", source)


def test_a_segmentation_goes_with_a_dicom_image_only(tmp_path, changed, source) -> None:
    path = changed(lambda dataset: None)
    nifti = save_nifti(tmp_path / "image.nii", np.arange(131 * 97, dtype=np.int16).reshape(131, 97) % 255, ITK)
    with pytest.warns(UserWarning, match="display range"):
        assert "the image no DICOM file" in refusal(path, nifti)
    # The same pixels under another UID are another image.
    twin = make_dx(tmp_path / "twin.dcm", rows=131, cols=97, elements={"SOPInstanceUID": "1.2.3"})
    assert "refer to this image" in refusal(path, twin)


def test_a_damaged_segmentation_is_refused(changed, source) -> None:
    path = changed(lambda dataset: None)
    content = path.read_bytes()
    for length in (140, 400, len(content) // 2, len(content) - 40):
        path.write_bytes(content[:length])
        refusal(path, source)


# ---- from a file to cells, and the page that says how


def test_masks_of_a_real_image_reach_the_cells_that_they_cover(tmp_path) -> None:
    """RG1 is 1955 x 1841, MONOCHROME1: 57 rows are cropped at the top, and a cell has 115 x 115 pixels."""
    bundle = load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"})
    source = SAMPLES / "wg04_rg1_multiple_masses.dcm"
    image = bundle.preprocessing({"image": str(source)})["image"]
    mask = np.zeros((1955, 1841), np.uint8)
    mask[57 + 115 * 3 : 57 + 115 * 5 + 10, 115 * 10 : 115 * 11 + 60] = 1
    save_nifti(tmp_path / "mask.nii", mask, ITK)
    segmentation(complete(source), mask[..., None]).save_as(tmp_path / "seg.dcm")
    for name in ("mask.nii", "seg.dcm"):
        region = region_on_cells(parse_region(f"mask:{tmp_path / name}"), image, bundle.preprocessing, cell_size=8)
        assert np.argwhere(region.cells).tolist() == [[3, 10], [3, 11], [4, 10], [4, 11]] and region.seen == 1


def test_the_page_runs_as_it_is_written(tmp_path, monkeypatch, capsys) -> None:
    few = {"n_samples": 96, "device": "$__import__('torch').device('cpu')"}
    monkeypatch.setattr(monai_robustinterp, "load_bundle", lambda: load_bundle(overrides=few))
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "how-to" / "certify-a-region.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block.replace("/tmp/", f"{tmp_path}/"), "page", "exec"), namespace)
    printed = capsys.readouterr().out
    assert printed.count("mask (NIfTI)") == printed.count("mask (DICOM SEG, segment 1)") == 1
    assert printed.count("image zone lower image-left") == 1
