"""What is printed as a guarantee is rounded against itself, and says of what and with which probability it holds."""

from __future__ import annotations

import dataclasses
import re
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged, Resized

from monai_robustinterp import CertifiedSaliencyInferer, ChestXRayReader
from monai_robustinterp.attacks.result import AttackBudget, AttackResult
from monai_robustinterp.audit.sentences import floored
from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.certificates.curve import overlap_curve
from monai_robustinterp.certificates.region import certify_region
from monai_robustinterp.certificates.units import round_down, round_up_to
from monai_robustinterp.cli.certify import claimed, table
from monai_robustinterp.geometry.changes import change_named
from monai_robustinterp.geometry.native import native_scale
from monai_robustinterp.geometry.source import Source
from monai_robustinterp.noise.white import WhiteNoise
from monai_robustinterp.run.against import OtherImage
from monai_robustinterp.run.lists import CohortSummary, ImageResult
from monai_robustinterp.run.pipeline import Prepared, measured_changes
from monai_robustinterp.transforms import CropCenterSquared, ScaleDisplayRanged
from monai_robustinterp.visualize.caption import caption_lines
from monai_robustinterp.visualize.curve import curve_figure
from monai_robustinterp.visualize.physician import captions
from tests.support.cases import collected
from tests.support.records import make_masks, make_record, make_run
from tests.support.vote_factory import make_spec, make_votes

SMALL = 1.23456789e-9
"""A failure probability whose confidence has more digits than a rounded one: 1 - 1e-9 must not be printed as 1."""


def test_decimals_are_those_of_the_number_that_was_written_and_of_the_audit() -> None:
    """100 times 0.29 is below 29 in floats, and above 7 for 0.07."""
    for digits in (0, 2, 4, 6):
        for number in range(0, 10**digits, max(1, 10**digits // 997)):
            value = number / 10**digits
            assert round_down(value, digits) == round_up_to(value, digits) == f"{value:.{digits}f}"
    for value in np.random.default_rng(0).random(300).tolist():
        down, up = round_down(value, 4), round_up_to(value, 4)
        assert down == floored(value, 4)
        assert Decimal(down) <= Decimal(repr(value)) <= Decimal(up) == Decimal(down) + Decimal("0.0001")


def test_a_pair_is_said_to_be_covered_with_lengths_and_chance_rounded_against_the_claim() -> None:
    votes = make_votes()
    spec = make_spec(votes)
    certificate = certify_votes(votes, spec, beta="0.5", eta=SMALL)
    radius = certificate.l_max / spec.sigma
    for share in (0.1234567, 0.7654321, 0.9999, 1.0001, 1.2345678):
        pixel = np.zeros((1, 128, 128), np.float32)
        pixel[0, 0, 0] = share * certificate.l_max
        said = OtherImage(values=pixel).compared(certificate, torch.zeros(1, 128, 128))
        norm = WhiteNoise(spec.sigma).norm(pixel.astype(np.float64))
        apart, covered = map(float, re.findall(r"[0-9.]+(?= noise standard| of them \(rounded down)", said))
        assert norm <= apart <= norm + 1e-4 and radius - 1e-4 <= covered <= radius
        assert said.startswith("covered") is (norm < radius)
        assert ("probability >= 1 - 1.23457e-9 over the noise" in said) is (norm < radius)


def test_no_printed_confidence_is_rounded_up() -> None:
    votes = make_votes()
    curve = overlap_curve(votes, make_spec(votes), eta=SMALL)
    assert "probability >= 1 - 1.23457e-9 per image" in curve_figure(curve).axes[0].get_title()
    counts = dict.fromkeys(("guide_draws", "restarts", "steps", "plain_steps", "fresh_samples"), 1)
    budget = AttackBudget(**counts, gamma=SMALL, seed=0)
    lengths = {"factor": 2.0, "radius": 1.0, "plain_norm": 1.0, "norm": 1.0}
    cells = {"certified_overlap": 3, "plain_overlap": 1, "overlap": 1}
    attacked = AttackResult(**lengths, **cells, broken=True, label_kept=True, budget=budget)
    assert "with confidence 1 - 1.23457e-9 the expected" in attacked.verdict


def test_the_table_rounds_shares_down_and_says_of_how_many_cells_and_with_which_probability() -> None:
    shares = {"score": 0.5, "label_agreement": 0.9996, "lungs_observed": 0.996, "ceiling_share": 0.9999}
    radii = {"label_radius": 0.12349, "renyi": 0.01239, "l_max": 0.09999, "ceiling": 0.1, "lungs_radius": 0.23459}
    row = ImageResult(number=1, status="certified", reason="", finding="x", n_samples=64, **shares, **radii)
    line = table(CohortSummary(inputs=1, results=[row])).splitlines()[2]
    assert " ".join(line.split()[4:]) == "0.999 0.1234 0.0123 0.0999 0.1000 99 % 0.0000 0/0 0.99 0.2345 certified"
    said = claimed(CertifiedSaliencyInferer(top_k=38, beta="0.5", eta=SMALL))
    assert "at least 19 of 38" in said
    assert ">= 1 - 1.23457e-9 for each of L_label, L_max" in said
    assert ">= 1 - 2.46914e-9 for L_label and L_max together, and for L_rerun" in said
    assert ">= 1 - 1 for L_label and L_max together" in claimed(CertifiedSaliencyInferer(eta=0.6))


def test_every_length_of_the_strip_is_the_records_rounded_down() -> None:
    votes, spec = make_run(make_masks(m=600, sharpness=3.0), agreeing=560)
    record = make_record(votes, dataclasses.replace(spec, brightness=0.03125))
    sigma, l_max = spec.sigma, record["claim"]["l_max"]
    expected = {
        r"L_max = ([0-9.]+)": l_max["l2"],
        r"\(([0-9.]+) of 255 gray levels RMS of the network's input\)": l_max["rms_gray_levels"],
        r"shorter than ([0-9.]+) standard deviations": l_max["l2"] / sigma,
        r"of the ceiling ([0-9.]+),": record["claim"]["ceiling"]["l2"],
        r"L_label = ([0-9.]+),": record["label"]["l2"],
        r"decision and map below ([0-9.]+),": record["label_and_map"]["l2"],
        r"L_rerun = ([0-9.]+);": record["rerun"]["l2"],
        r"stored pixel values: l2 ([0-9.]+),": record["native"]["l2"],
        r"at most ([0-9.]+) in every pixel": record["native"]["l_inf"],
        r"Renyi ([0-9.]+);": record["radii"][2]["l2"],
        r"Neyman-Pearson ([0-9.]+);": record["radii"][3]["l2"],
    }
    text = "\n".join(caption_lines(record))
    with collected() as case:
        for pattern, value in expected.items():
            with case(pattern):
                (printed,) = re.findall(pattern, text)
                assert value > 0 and value * 0.99 - 1e-4 < float(printed) <= value
    # Each sum of etas beside its claim: the second run has two, and so have decision and map together.
    assert "decision and map below" in text and text.count("confidence 98 %") == 2 and text.count("99 %") == 2


def test_what_covers_a_change_has_the_round_off_of_both_inputs_in_its_norm() -> None:
    """2 e over sigma (T17), where the way from the stored pixels is known: norms are not those of the inputs alone."""
    steps = [LoadImaged("image", reader=ChestXRayReader), ScaleDisplayRanged("image"), CropCenterSquared("image")]
    preprocessing = Compose([*steps, Resized("image", (32, 32), mode="area")])
    meta = {"display_min": 100.0, "display_max": 3100.0, "pixel_sha256": "0" * 64, "display_source": "window"}
    meta |= {"display_slope": 1 / 3000, "display_rho": 1.1, "display_margin": np.inf, "pixel_aspect": 1.0}
    stored = np.random.default_rng(0).uniform(500, 2500, (1, 101, 77)).astype(np.float32)
    read = MetaTensor(torch.from_numpy(stored), meta=meta | {"spatial_shape": np.array([101, 77])})
    source = Source(read, preprocessing)
    image = MetaTensor(torch.from_numpy(source.preprocess(source.pixels)), meta=read.meta)
    ready = Prepared(image=image, source=source, gray=np.zeros((101, 77), np.float32), regions=())
    noise, change = WhiteNoise(0.25), change_named("brighter by 0.02")
    bundle = SimpleNamespace(preprocessing=preprocessing)
    (found,) = measured_changes(ready, bundle, [change], noise=noise, seed=0)  # type: ignore[arg-type]
    scale = native_scale(preprocessing, image.meta, (32, 32))
    (moved,) = change.inputs(source, 0)
    plain = noise.norm(moved.astype(np.float64) - image.numpy())
    assert scale.round_off is not None and scale.round_off > 1e-6
    assert found.norms[0] == pytest.approx(plain + 2 * scale.round_off / 0.25, abs=1e-9)


def test_the_alarm_is_given_from_its_radius_on_and_not_a_little_before() -> None:
    """Copies with one vote of four in the lungs, and more and more of them with two."""
    radii = []
    for two in range(380, 460, 5):
        certificate = certify_region([0, 600 - two, two, 0, 0], 0.3, eta=0.001)
        radii.append(certificate.radius_below_half / 0.3)
        # Less than half at every distance below the radius, and so up to the alarm's.
        assert certificate.alarm is (radii[-1] * (1 - 1e-12) >= 0.5)
        assert not certificate.alarm or certificate.at_most(0.15) <= 0.5
    assert any(0.45 < radius < 0.5 for radius in radii) and any(0.5 <= radius < 0.55 for radius in radii)


def test_the_captions_count_no_change_beyond_both_radii_and_no_vote_beyond_an_alarms_bound() -> None:
    record = make_record(*make_run(make_masks(m=600, sharpness=3.0)))
    both = record["label_and_map"]["l2"] / record["spec"]["sigma"]
    for factor, inside in ((0.99, 2), (1.01, 1), (1.09, 1)):
        record["ledger"][3]["norm"] = factor * both
        assert f"Under {inside} of 3 tested changes" in " ".join(captions(record).paragraphs[2]), factor
    fixed = np.tile(np.arange(16) < 4, (600, 1)).astype(np.int64)
    record = make_record(*make_run(fixed, lungs=np.arange(16) > 9))
    for upper, outside in ((0.2904, 70), (0.2999, 70), (0.3, 70), (0.3001, 69)):
        record["regions"][0]["share_upper"] = upper
        assert f"CAUTION: at least {outside} % of the votes" in captions(record).paragraphs[1][0], upper
