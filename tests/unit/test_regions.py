"""From what the user names to cells: the forms, the pixels, and the geometry against integer arithmetic."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, InvertibleTransform, LoadImaged, MapTransform, Resized

from monai_robustinterp.bundle import SaliencyBundle, load_bundle
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.regions import Box, MaskFile, RegionSource, Zone, parse_region, region_on_cells
from monai_robustinterp.io import ChestXRayReader
from tests.support.bundles import OPACITY
from tests.support.cases import collected
from tests.support.dicom_factory import make_dx

CELL = 8
GRID = 16  # cells of 8 pixels on 128 x 128
SIZES = [(200, 301), (333, 257), (255, 255), (256, 256), (80, 96), (1955, 1841)]


@dataclass(frozen=True)
class Drawn(RegionSource):
    """A mask that is there already."""

    pixels: np.ndarray

    def draw(self, meta):
        return "drawn", self.pixels


@pytest.fixture(scope="module")
def bundle() -> SaliencyBundle:
    return load_bundle(OPACITY, overrides={"device": "$torch.device('cpu')"})


@pytest.fixture(scope="module")
def image_of(bundle, tmp_path_factory):
    """A preprocessed synthetic radiograph of some size."""
    folder = tmp_path_factory.mktemp("images")

    def read(rows: int, cols: int, **options) -> MetaTensor:
        path = make_dx(folder / "image.dcm", rows=rows, cols=cols, **options)
        return bundle.preprocessing({"image": str(path)})["image"]

    return read


def cell_of_pixels(rows: int, columns: int) -> np.ndarray:
    """Cell of each source pixel in reading order, -1 outside the central square, in whole numbers only."""
    side = min(rows, columns)
    down = (np.arange(rows) - (rows // 2 - side // 2)) * GRID // side
    across = (np.arange(columns) - (columns // 2 - side // 2)) * GRID // side
    inside = ((down >= 0) & (down < GRID))[:, None] & ((across >= 0) & (across < GRID))
    return np.where(inside, down[:, None] * GRID + across, -1)


# ---- the forms


def test_forms_are_parsed_without_a_file_and_can_be_compared() -> None:
    assert parse_region("box:10,20,110,220") == Box(10, 20, 110, 220)
    assert parse_region("mask:/no/such file#1.nii.gz") == MaskFile(Path("/no/such file#1.nii.gz"))
    assert parse_region("mask:seg.dcm#2") == MaskFile(Path("seg.dcm"), 2)
    assert parse_region("mask:C:\\seg.dcm#12") == MaskFile(Path("C:\\seg.dcm"), 12)
    assert parse_region("zone:lower-image-left") == Zone("lower", "image-left")
    assert parse_region("zone:upper") == Zone("upper", "") and parse_region("zone:image-right") == Zone(
        "", "image-right"
    )
    assert len({parse_region("zone:upper"), parse_region("zone:upper"), parse_region("box:0,0,1,1")}) == 2


def test_what_is_no_region_is_refused_with_the_rule() -> None:
    every_text = [
        *("", "box", "lung:left", "BOX:1,2,3,4", "/data/DOE_JANE.nii", "mask:", "zone:", "zone:left", "zone:upper-"),
        *("zone:image-left-upper", "box:1,2,3", "box:1,2,3,4,5", "box:1.0,2,3,4", "box:-1,2,3,4", "box: 1,2,3,4"),
        *("box:3,2,3,4", "box:1,4,3,4", "box:110,20,10,220", "box:1,2,3,x", "box:DOE_JANE", "zone:DOE_JANE"),
    ]
    with collected() as case:
        for text in every_text:
            with case(text):
                with pytest.raises(ValueError, match=r"must be|write mask:FILE") as error:
                    parse_region(text)
                assert "JANE" not in str(error.value)


# ---- pixels of the source


META = {"spatial_shape": np.array([9, 7])}


def test_a_box_has_its_left_and_top_edge_and_not_its_right_and_bottom_one() -> None:
    name, pixels = Box(2, 1, 5, 4).draw(META)
    assert name == "box 2,1,5,4 (columns and rows of the source)"
    assert {(int(r), int(c)) for r, c in np.argwhere(pixels)} == {(r, c) for r in (1, 2, 3) for c in (2, 3, 4)}
    assert Box(0, 0, 7, 9).draw(META)[1].all()


@pytest.mark.parametrize("box", [Box(0, 0, 8, 9), Box(0, 0, 7, 10), Box(7, 0, 8, 1)])
def test_a_box_that_leaves_the_image_is_refused(box: Box) -> None:
    with pytest.raises(InputRefused, match="leaves the image of 7 columns and 9 rows"):
        box.draw(META)


def test_zones_are_sides_of_the_image_as_it_is_displayed() -> None:
    name, pixels = parse_region("zone:lower-image-left").draw(META)
    assert name == "image zone lower image-left (a third of the rows, half of the columns; no anatomy)"
    assert pixels[6:, 0].all() and not pixels[:6].any() and not pixels[:, -1].any()
    name, pixels = parse_region("zone:upper").draw(META)
    assert name == "image zone upper (a third of the rows; no anatomy)" and pixels[:3].all() and not pixels[3:].any()
    name, pixels = parse_region("zone:image-right").draw(META)
    assert name == "image zone image-right (half of the columns; no anatomy)"
    assert pixels[:, 4:].all() and not pixels[:, :4].any()


@pytest.mark.parametrize("shape", [(9, 6), (10, 7), (11, 8), (64, 10_000)])
def test_the_six_zones_are_about_equal_and_meet_without_a_gap(shape: tuple[int, int]) -> None:
    zones = [f"{third}-image-{half}" for third in ("upper", "middle", "lower") for half in ("left", "right")]
    masks = [parse_region(f"zone:{zone}").draw({"spatial_shape": shape})[1] for zone in zones]
    assert (np.sum(masks, axis=0) == 1).all()
    for mask in masks:
        rows, columns = mask.any(axis=1).sum(), mask.any(axis=0).sum()
        assert abs(rows - shape[0] / 3) < 1 and abs(columns - shape[1] / 2) <= 0.5 and mask.sum() == rows * columns


# ---- cells of the map


def test_the_source_pixels_of_cells_come_back_as_these_cells(bundle, image_of) -> None:
    with collected() as case:
        for mono1, size in itertools.product([False, True], SIZES):
            with case(mono1, size):
                image, cells = image_of(*size, mono1=mono1), cell_of_pixels(*size)
                rng = np.random.default_rng(0)
                for chosen in ([0], [GRID - 1], [GRID * (GRID - 1)], [37], rng.choice(GRID**2, 60, replace=False)):
                    region = region_on_cells(Drawn(np.isin(cells, chosen)), image, bundle.preprocessing, cell_size=CELL)
                    assert set(np.flatnonzero(region.cells)) == set(map(int, chosen))
                    assert region.cells.shape == (GRID, GRID) and region.cells.dtype == bool and region.seen == 1
                    assert region.name == "drawn"


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_share_that_the_network_sees_is_counted_in_pixels(bundle, image_of, size) -> None:
    image, cells = image_of(*size), cell_of_pixels(*size)
    # The same corner of the image, of which a wide or high image has a part outside the central square.
    box = Box(0, 0, size[1] // 2, size[0] // 2)
    region = region_on_cells(box, image, bundle.preprocessing, cell_size=CELL)
    assert region.seen == pytest.approx((cells[: size[0] // 2, : size[1] // 2] >= 0).mean(), abs=1e-12)
    if size[0] != size[1]:
        with pytest.raises(InputRefused, match="none of the 256 cells of the map, with 0 %"):
            region_on_cells(Drawn(cells < 0), image, bundle.preprocessing, cell_size=CELL)


def test_a_cell_belongs_to_a_region_from_half_of_its_pixels(bundle, image_of) -> None:
    """At 256 x 256 a cell has 16 x 16 pixels: 8 rows of it are half."""
    image = image_of(256, 256)
    half = region_on_cells(Box(16, 16, 48, 40), image, bundle.preprocessing, cell_size=CELL)
    assert set(np.flatnonzero(half.cells)) == {17, 18, 33, 34}
    pixels = Box(16, 16, 48, 40).draw(image.meta)[1]
    pixels[39, 47] = False
    less = region_on_cells(Drawn(pixels), image, bundle.preprocessing, cell_size=CELL)
    assert set(np.flatnonzero(less.cells)) == {17, 18, 33}


def test_pixel_maps_have_a_cell_a_pixel(bundle, image_of) -> None:
    image = image_of(128, 200)
    region = region_on_cells(Box(36 + 5, 7, 36 + 9, 20), image, bundle.preprocessing, cell_size=1)
    expected = np.zeros((128, 128), dtype=bool)
    expected[7:20, 5:9] = True
    assert np.array_equal(region.cells, expected)


def test_rows_and_columns_of_a_wide_network_input_are_not_exchanged(tmp_path) -> None:
    """120 x 300 pixels become 64 x 160, 8 x 20 cells of 15 x 15 source pixels."""
    path = make_dx(tmp_path / "image.dcm", rows=120, cols=300)
    resize = Resized("image", (64, 160), mode="area")
    preprocessing = Compose([LoadImaged("image", reader=ChestXRayReader()), resize])
    image = preprocessing({"image": str(path)})["image"]
    region = region_on_cells(Box(15 * 11, 15 * 2, 15 * 19, 15 * 5), image, preprocessing, cell_size=CELL)
    expected = np.zeros((8, 20), dtype=bool)
    expected[2:5, 11:19] = True
    assert np.array_equal(region.cells, expected)


def test_a_cell_without_a_source_pixel_belongs_to_no_region(bundle, image_of) -> None:
    """80 x 80 pixels become 128 x 128 cells of one pixel each: each source pixel is one cell, the others are none's."""
    image = image_of(80, 80)
    region = region_on_cells(Box(10, 20, 50, 30), image, bundle.preprocessing, cell_size=1)
    assert region.cells.sum() == 40 * 10


def test_the_preprocessed_image_is_left_as_it_was(bundle, image_of) -> None:
    image = image_of(200, 301)
    before, steps = image.as_tensor().clone(), len(image.applied_operations)
    first = region_on_cells(parse_region("zone:lower"), image, bundle.preprocessing, cell_size=CELL)
    again = region_on_cells(parse_region("zone:lower"), image, bundle.preprocessing, cell_size=CELL)
    assert np.array_equal(first.cells, again.cells)
    assert torch.equal(image.as_tensor(), before) and len(image.applied_operations) == steps


def test_the_intensities_do_not_matter(bundle, image_of) -> None:
    images = [image_of(200, 301, seed=seed) for seed in (1, 2)]
    assert not torch.equal(images[0].as_tensor(), images[1].as_tensor())
    first, second = (
        region_on_cells(parse_region("zone:middle-image-right"), image, bundle.preprocessing, cell_size=CELL)
        for image in images
    )
    assert np.array_equal(first.cells, second.cells) and (first.name, first.seen) == (second.name, second.seen)


def test_regions_of_an_image_on_a_device_need_nothing_of_that_device(bundle, image_of) -> None:
    """There the work would wait for the votes of the image before."""
    image, region = image_of(200, 301), parse_region("zone:middle-image-right")
    here, there = (
        region_on_cells(region, found, bundle.preprocessing, cell_size=CELL) for found in (image, image.to("meta"))
    )
    assert np.array_equal(here.cells, there.cells) and here.seen == there.seen


def test_regions_without_a_cell_or_with_all_are_refused(bundle, image_of) -> None:
    image = image_of(256, 300)
    for source, reason in (
        (Box(100, 100, 103, 103), "none of the 256 cells of the map, with 100 %"),
        (Box(0, 0, 300, 256), "all of the 256 cells"),
        (Drawn(np.zeros((256, 300), dtype=bool)), "has no pixel"),
    ):
        with pytest.raises(InputRefused, match=reason):
            region_on_cells(source, image, bundle.preprocessing, cell_size=CELL)


class Rescaled(MapTransform, InvertibleTransform):
    """Leaves the image alone, and multiplies what it inverts."""

    def __init__(self, factor: float) -> None:
        super().__init__("image")
        self.factor = factor

    def __call__(self, data):
        self.push_transform(data["image"])
        return dict(data)

    def inverse(self, data):
        self.pop_transform(data["image"])
        return dict(data) | {"image": data["image"] * self.factor}


@pytest.mark.parametrize("factor", [1.0, 0.5, -1.0, 300.0])
def test_a_preprocessing_whose_inverse_changes_values_is_refused(tmp_path, factor) -> None:
    path = make_dx(tmp_path / "image.dcm", rows=128, cols=128)
    preprocessing = Compose([LoadImaged("image", reader=ChestXRayReader()), Rescaled(factor)])
    image = preprocessing({"image": str(path)})["image"]
    if factor == 1:
        region = region_on_cells(Box(8, 0, 16, 8), image, preprocessing, cell_size=CELL)
        assert np.flatnonzero(region.cells).tolist() == [1]
    else:
        with pytest.raises(InputRefused, match="changes values"):
            region_on_cells(Box(8, 0, 16, 8), image, preprocessing, cell_size=CELL)
