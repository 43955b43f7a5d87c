"""A written map lies over its source: read back by the package's reader, and voxel by voxel in the source's file."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from monai_robustinterp import ChestXRayReader
from monai_robustinterp.io.write.map_nifti import save_map
from tests.support.cases import collected

SHAPE = (70, 90)


@pytest.fixture
def ramp() -> np.ndarray:
    """Unequal values in [0, 1], so that every flip and transposition shows."""
    values = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    values[0, 0], values[0, -1], values[-1, 0] = 1.0, 0.75, 0.5
    return values


def affines() -> list[np.ndarray]:
    """Every axis order and sign of an orthogonal grid, with unequal spacings."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((4, 4))
            for axis, (world, sign) in enumerate(zip(order, signs)):
                affine[world, axis] = sign * (0.2, 0.202, 0.203)[axis]
            affine[:3, 3], affine[3, 3] = (10, -20, 30), 1
            found.append(affine)
    return found


def test_a_map_of_the_image_itself_is_the_image_voxel_by_voxel(tmp_path_factory) -> None:
    with collected() as case:
        for affine, shape, kind in itertools.product(
            affines(), [(90, 70, 1), (90, 1, 70), (1, 90, 70)], [nib.Nifti1Image, nib.Nifti2Image]
        ):
            with case(nib.aff2axcodes(affine), shape, kind.__name__):
                tmp_path = tmp_path_factory.mktemp("case")
                stored = np.random.default_rng(1).random(shape, dtype=np.float32)
                source = tmp_path / "source.nii.gz"
                image = kind(stored, affine)
                image.header["descrip"] = b"PATIENT NAME"
                nib.save(image, source)
                values, meta = ChestXRayReader().get_data(source)
                save_map(tmp_path / "map.nii.gz", values[0], meta)
                found = nib.load(tmp_path / "map.nii.gz")
                np.testing.assert_array_equal(found.get_fdata(dtype=np.float32), stored)
                np.testing.assert_allclose(found.affine, nib.load(source).affine, atol=1e-5)
                assert found.header.get_zooms() == pytest.approx(nib.load(source).header.get_zooms())
                assert b"PATIENT" not in found.to_bytes()


def test_a_file_without_orientation_keeps_having_none(tmp_path, ramp) -> None:
    image = nib.Nifti1Image(ramp.T, None)
    assert image.header["sform_code"] == image.header["qform_code"] == 0
    nib.save(image, tmp_path / "source.nii")
    values, meta = ChestXRayReader().get_data(tmp_path / "source.nii")
    save_map(tmp_path / "map.nii.gz", values[0], meta)
    found = nib.load(tmp_path / "map.nii.gz")
    assert found.header["sform_code"] == found.header["qform_code"] == 0
    np.testing.assert_array_equal(found.get_fdata(dtype=np.float32), ramp.T)


def test_a_map_of_another_format_is_read_back_as_it_was(tmp_path, ramp) -> None:
    Image.fromarray(np.uint8(255 * ramp)).save(tmp_path / "source.png")
    _, meta = ChestXRayReader().get_data(tmp_path / "source.png")
    save_map(tmp_path / "map.nii.gz", ramp, meta | {"spacing_mm": np.array([0.2, 0.203])})
    values, found = ChestXRayReader().get_data(tmp_path / "map.nii.gz")
    np.testing.assert_array_equal(values[0], ramp)
    assert found["spacing_mm"] == pytest.approx([0.2, 0.203])


def test_the_same_map_gives_the_same_bytes_and_replaces_nothing(tmp_path, ramp) -> None:
    meta = {"file_format": "image", "filename_or_obj": "", "spacing_mm": np.array([np.nan, np.nan])}
    for name in ("a.nii.gz", "b.nii.gz"):
        save_map(Path(tmp_path / name), ramp, meta)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    with pytest.raises(FileExistsError):
        save_map(tmp_path / "a.nii.gz", ramp, meta)


def test_an_unused_quaternion_that_is_none_does_not_matter(tmp_path, ramp) -> None:
    image = nib.Nifti1Image(ramp.T, np.diag([-0.2, -0.2, 1, 1]))
    image.header["quatern_b"], image.header["quatern_c"], image.header["qform_code"] = 1.5, 1.0, 0
    (tmp_path / "source.nii").write_bytes(image.to_bytes())
    values, meta = ChestXRayReader().get_data(tmp_path / "source.nii")
    save_map(tmp_path / "map.nii.gz", values[0], meta)
    np.testing.assert_array_equal(nib.load(tmp_path / "map.nii.gz").get_fdata(dtype=np.float32), ramp.T)
