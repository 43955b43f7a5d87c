"""The region of the lungs: a function of the clean image alone, named by its pixels, and left out where it fails."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from monai_robustinterp import OutputOptions, SaliencyBundle, certify_image, load_bundle, save
from monai_robustinterp.audit import read_record, verify
from monai_robustinterp.cli.certify import table
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import sealed
from monai_robustinterp.geometry.lungs import LungMask
from monai_robustinterp.geometry.regions import mask_digest, parse_region
from monai_robustinterp.io.votes_npz import load_votes
from monai_robustinterp.networks.lung_fields import LungField, LungFields
from monai_robustinterp.run.cohort import CohortSummary, certify_cohort
from monai_robustinterp.run.pipeline import prepare
from monai_robustinterp.run.replay import replay
from monai_robustinterp.visualize.caption import caption_lines
from monai_robustinterp.visualize.outlined import LUNGS_LINE_COLOR
from monai_robustinterp.visualize.overlay import outline
from tests.support.bundles import OPACITY
from tests.support.dicom_factory import make_dx
from tests.support.lungs import LEFT, RIGHT, boxed
from tests.support.networks import TinyClassifier
from tests.support.records import SCHEMA


@pytest.fixture
def bundle() -> SaliencyBundle:
    """The shipped one around a network that answers fast."""
    bundle = load_bundle(
        OPACITY, overrides={"n_samples": 64, "device": "$torch.device('cpu')", "input_statistics": "", "lungs": "off"}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bundle.network = TinyClassifier(classes=2).eval()
    return bundle


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_dx(tmp_path / "image.dcm", rows=256, cols=256)


def on_film(side: int = 256) -> np.ndarray:
    """The boxes on a film of that side."""
    film = np.zeros((side, side), bool)
    for top, bottom, left, right in (LEFT, RIGHT):
        film[top * side // 128 : bottom * side // 128, left * side // 128 : right * side // 128] = True
    return film


def test_the_lungs_are_a_region_that_is_named_by_segmenter_and_pixels(bundle, image, tmp_path) -> None:
    bundle.lungs = boxed()
    result = certify_image(image, bundle, changes=(), regions=[parse_region("zone:upper")])
    zone, lungs = result.record["regions"]
    pixels = result.picture.lungs
    assert lungs["name"] == f"lungs (boxes 1), SHA-256 {mask_digest(pixels)}" and zone["name"].startswith("image zone")
    assert "alarm" in lungs and "alarm" not in zone
    # Bilinear interpolation moves the edge by a pixel at most.
    assert (pixels != on_film()).mean() < 0.02
    cells = result.votes.regions[1].cells
    assert np.array_equal(cells, on_film(16 * 128)[64::128, 64::128]), "the cells whose centers lie in the boxes"
    settings = bundle.lungs.settings
    assert result.record["lungs"] == settings | {"confidence": pytest.approx(1, abs=0.05), "failure": None}
    jsonschema.validate(json.loads(json.dumps(result.record)), SCHEMA)
    save(result, tmp_path / "result")
    report = verify(read_record(tmp_path / "result/certificate.json"), tmp_path / "result/votes.npz")
    assert report.verified and "regions[1].alarm" in report.checked


class Watching(LungFields):
    """A segmenter that keeps the films that it is given."""

    def __init__(self) -> None:
        super().__init__(boxed().network, name="watching")
        self.films: list[torch.Tensor] = []

    def __call__(self, film: torch.Tensor) -> LungField:
        self.films.append(film.clone())
        return super().__call__(film)


def test_the_segmenter_sees_the_film_as_it_is_displayed_once_and_before_the_votes(bundle, image) -> None:
    bundle.lungs = watching = Watching()
    prepared = prepare(image, bundle)
    assert len(watching.films) == 1 and prepared.regions[0].name.startswith("lungs (watching)")
    assert np.array_equal(watching.films[0].numpy(), prepared.gray) and prepared.gray.shape == (256, 256)
    # The same lungs whatever noise and votes: of another seed, and of fewer copies.
    names = set()
    for seed in (0, 1):
        bundle.inferer.recipe = dataclasses.replace(bundle.inferer.recipe, seed=seed, n_samples=16 + seed)
        names.add(certify_image(image, bundle, changes=()).record["regions"][0]["name"])
    assert names == {prepared.regions[0].name}


NONE = "the lung fields that were found cover 0 % of the film"


@pytest.mark.parametrize(
    ("segmenter", "reason"),
    [
        (boxed((0, 1, 0, 1)), NONE),
        (boxed(LEFT), "1 separate lung fields were found"),
        (boxed(LEFT, RIGHT, logit=0.5), "the lung fields are uncertain"),
    ],
)
def test_without_lungs_that_look_right_nothing_is_claimed_of_them_and_the_rest_goes_on(
    bundle, image, tmp_path, segmenter, reason
) -> None:
    bundle.lungs = segmenter
    result = certify_image(image, bundle, changes=(), regions=[parse_region("zone:upper")])
    (zone,) = result.record["regions"]
    assert zone["name"].startswith("image zone") and result.picture.lungs is None
    failure = result.record["lungs"]["failure"]
    assert failure.startswith(reason) and f"No claim on the lungs: {failure}" in caption_lines(result.record)
    save(result, tmp_path / "result")
    assert verify(read_record(tmp_path / "result/certificate.json"), tmp_path / "result/votes.npz").verified
    summary = certify_cohort([image], tmp_path / "out", bundle=bundle, changes=(), show_progress=False)
    assert summary.results[0].lungs_failure == failure and failure in table(summary)
    assert summary.results[0].alarm is None and "ALARM" not in table(summary).split("status")[1].split("lungs:")[0]


def test_lungs_outside_of_what_the_network_sees_are_no_region(bundle, tmp_path) -> None:
    """Of a wide film the network sees the center square; these fields lie left and right of it."""
    wide = make_dx(tmp_path / "wide.dcm", rows=256, cols=1024)
    bundle.lungs = boxed((10, 120, 2, 46), (10, 120, 82, 126))
    prepared = prepare(wide, bundle)
    assert prepared.regions == () and prepared.lungs is None
    assert prepared.lungs_record["failure"].startswith("the lung fields have none or all of the cells")


def test_a_mask_of_the_user_goes_in_place_of_the_segmenter(bundle, image, tmp_path) -> None:
    mask = on_film()
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8).T[..., None], np.diag([-1, -1, 1, 1])), tmp_path / "m.nii")
    bundle.lungs = boxed((0, 1, 0, 1))
    result = certify_image(image, bundle, changes=(), regions=[LungMask(tmp_path / "m.nii")])
    (lungs,) = result.record["regions"]
    assert lungs["name"] == f"lungs (mask, NIfTI), SHA-256 {mask_digest(mask)}" and "alarm" in lungs
    assert np.array_equal(result.picture.lungs, mask) and "lungs" not in result.record
    save(result, tmp_path / "result")
    assert verify(read_record(tmp_path / "result/certificate.json"), tmp_path / "result/votes.npz").verified
    with pytest.raises(InputRefused, match="opened"):
        certify_image(image, bundle, changes=(), regions=[LungMask(tmp_path / "none.nii")])


def test_a_film_is_refused_if_the_segmenter_is_none(bundle, image) -> None:
    bundle.lungs = LungFields(torch.nn.Conv2d(3, 1, 1), name="of colors")
    with pytest.raises(InputRefused, match="--lungs off"):
        certify_image(image, bundle, changes=())


# ---- what physicians read


def looking_at(cells: np.ndarray) -> torch.nn.Module:
    """A classifier whose gradient lies in the given cells of 8 pixels."""

    class Looking(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            weights = torch.linspace(1, 2, 256).reshape(16, 16) * torch.from_numpy(cells)
            self.weights = torch.nn.Parameter(weights.repeat_interleave(8, 0).repeat_interleave(8, 1)[None, None])

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            score = (self.weights * image).sum(dim=(1, 2, 3))
            return torch.stack([-score, score], dim=1)

    return Looking().eval()


@pytest.fixture
def lungs(bundle, image) -> np.ndarray:
    bundle.lungs = boxed()
    return prepare(image, bundle).regions[0].cells


def run(bundle: SaliencyBundle, image: Path, folder: Path) -> tuple[CohortSummary, dict[str, Any]]:
    summary = certify_cohort([image], folder, bundle=bundle, changes=(), show_progress=False)
    return summary, json.loads(next(folder.glob("cxr-*/certificate.json")).read_text())


def test_a_network_that_looks_beside_the_lungs_gives_an_alarm_in_all_that_is_read(
    bundle, image, lungs, tmp_path
) -> None:
    bundle.network = looking_at(~lungs)
    summary, record = run(bundle, image, tmp_path / "out")
    (entry,), (result,) = record["regions"], summary.results
    assert entry["alarm"] and (entry["observed"], result.alarm, result.lungs_radius) == (0, True, 0)
    assert "ALARM: whatever change within 0.5 standard deviations of the noise, most" in caption_lines(record)[1]
    assert f"  {result.status}, ALARM" in table(summary) and f"{entry['observed']:>5.2f} " in table(summary)
    totals = json.loads((tmp_path / "out/summary.json").read_text())["totals"]
    assert totals["alarms"] == 1
    assert not entry["sentence"].endswith(".)") and entry["sentence"].startswith("ALARM")


def test_a_network_that_looks_at_the_lungs_gives_none_and_has_a_radius(bundle, image, lungs, tmp_path) -> None:
    bundle.network = looking_at(lungs)
    summary, record = run(bundle, image, tmp_path / "out")
    (entry,), (result,) = record["regions"], summary.results
    assert (entry["alarm"], entry["observed"], result.alarm) == (False, 1, False)
    assert result.lungs_radius == entry["radius_above_half"]["l2"] > 0
    assert (result.lungs_at_least, result.lungs_at_most) == (entry["at_least"], entry["at_most"])
    row = next(line for line in table(summary).splitlines() if line.startswith("  1"))
    assert "ALARM" not in row and not any("ALARM" in line for line in caption_lines(record))


def test_without_a_segmenter_the_table_has_no_column_of_lungs(bundle, image, tmp_path) -> None:
    summary, record = run(bundle, image, tmp_path / "out")
    assert "lungs" not in table(summary) and "lungs" not in record and "regions" not in record


@pytest.mark.parametrize("capture", ["canvas", "source"])
def test_the_contour_of_the_lungs_is_drawn_and_explained(bundle, image, lungs, tmp_path, capture) -> None:
    bundle.network = looking_at(lungs)
    result = certify_image(image, bundle, changes=())
    assert result.status.label == "certified"
    save(result, tmp_path / "result", OutputOptions(capture=capture))
    picture = np.asarray(Image.open(tmp_path / "result/overlay.png"))
    drawn = (picture == LUNGS_LINE_COLOR).all(axis=-1)
    side, left = (1024, 1024 + 16) if capture == "canvas" else (256, 0)
    film = drawn[:side, left : left + side]
    edge = outline(result.picture.lungs, 3) | outline(~result.picture.lungs, 3)
    assert film.any() and not film[~edge.repeat(side // 256, 0).repeat(side // 256, 1)].any()
    assert drawn[side:].any(), "the key"
    bundle.lungs = None
    save(certify_image(image, bundle, changes=()), tmp_path / "without", OutputOptions(capture=capture))
    assert not (np.asarray(Image.open(tmp_path / "without/overlay.png")) == LUNGS_LINE_COLOR).all(axis=-1).any()


# ---- again


def test_a_result_of_other_lungs_is_not_kept(bundle, image, tmp_path) -> None:
    bundle.lungs = boxed()
    first = certify_cohort([image], tmp_path / "out", bundle=bundle, changes=(), show_progress=False)
    assert first.results[0].status != "refused"
    again = certify_cohort([image], tmp_path / "out", bundle=bundle, changes=(), show_progress=False)
    assert again.kept == 1 and again.results[0].alarm == first.results[0].alarm
    for other in (None, boxed(name="others"), boxed(LEFT, (24, 112, 72, 112))):
        bundle.lungs = other
        (result,) = certify_cohort([image], tmp_path / "out", bundle=bundle, changes=(), show_progress=False).results
        assert result.status == "refused" and "lungs" in result.reason
    # The same fields and name, of other weights.
    bundle.lungs = boxed(logit=8.0)
    (result,) = certify_cohort([image], tmp_path / "out", bundle=bundle, changes=(), show_progress=False).results
    assert result.status == "refused" and "lungs {'name': 'boxes'" in result.reason


def test_a_replay_draws_the_lungs_again(bundle, image, tmp_path) -> None:
    bundle.lungs = boxed()
    save(certify_image(image, bundle, changes=()), tmp_path / "result")
    record = read_record(tmp_path / "result/certificate.json")
    votes, spec, _ = load_votes(tmp_path / "result/votes.npz")

    def replayed(record: dict[str, Any] = record) -> Any:
        return replay(record, votes, spec, source=image, bundle=bundle)

    report = replayed()
    assert report.confirmed and report.equal and not any("regions" in what for what in report.not_replayed)
    bundle.lungs = boxed(name="others")
    assert "lungs is not the segmenter" in replayed().differences[0]
    bundle.lungs = None
    assert "lungs is not the segmenter" in replayed().differences[0]
    # A record whose segmenter is another one than drew its region: hash and name are forged to fit.
    for segmenter, sentence in (
        (boxed(LEFT, (24, 112, 72, 100)), "cells of the lungs differ"),
        (boxed(LEFT), "lungs.failure is not that of the segmenter"),
    ):
        bundle.lungs = segmenter
        forged = {k: v for k, v in record.items() if k != "content_sha256"}
        forged["lungs"] = record["lungs"] | segmenter.settings
        (difference,) = replayed(sealed(forged)).differences
        assert sentence in difference
