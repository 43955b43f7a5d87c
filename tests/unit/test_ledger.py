"""The ledger: each named change against its closed form or another program, what applies, what is covered."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureTyped, Identityd, LoadImaged, Resized
from PIL import Image

from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.certificates.ledger import MeasuredChange, covers, ledger_record, radius_in_noise, reached
from monai_robustinterp.certificates.overlap import required_overlap
from monai_robustinterp.geometry.changes import N_DRAWS, NAMED, Change, PixelChange
from monai_robustinterp.geometry.ledger import measure
from monai_robustinterp.geometry.source import Source
from monai_robustinterp.io import ChestXRayReader
from monai_robustinterp.noise.white import WhiteNoise
from monai_robustinterp.transforms import CropCenterSquared, ScaleDisplayRanged
from monai_robustinterp.types import SmoothingSpec, top_k_set
from tests.support.cases import collected
from tests.support.dicom_factory import chest_like, make_dx
from tests.support.vote_factory import spec_of, vote_map

SIDE, SMALL = 96, 24
NAMES = {change.label: change for change in NAMED}
SPEC = SmoothingSpec(sigma=1.0, n_samples=9, top_k=1, cell_size=1, interpreter="gradient", target=0, seed=7)
DRAWS = {0.01: (0.1, 0.2), 0.03: (0.1, 0.5)}


def source_of(pixels: npt.NDArray[np.float64], *, low: float = 100.0, width: float = 3000.0, **meta: object) -> Source:
    """An image of these display values, stored as floats, that is resized by area means."""
    values = torch.from_numpy((low + width * pixels).astype(np.float32))[None]
    known = {"display_min": low, "display_max": low + width, "pixel_sha256": "0" * 64, "display_source": "window"}
    steps = [Identityd("image"), ScaleDisplayRanged("image"), Resized("image", (SMALL, SMALL), mode="area")]
    return Source(MetaTensor(values, meta=known | meta), Compose(steps))


def middle_gray(seed: int = 0) -> npt.NDArray[np.float64]:
    """A smooth picture with noise between .2 and .8: nothing named here clips it."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0.3, 0.7, SIDE)
    return np.clip(ramp[:, None] * 0.5 + ramp * 0.5 + rng.normal(0, 0.03, (SIDE, SIDE)), 0.2, 0.8)


def norms(
    change: Change, source: Source, *, sigma: float = 1.0, round_off: float = 0.0, seed: int = 0
) -> MeasuredChange:
    clean = source.preprocess(source.pixels)
    (found,) = measure([change], source, clean, norm=WhiteNoise(sigma).norm, round_off=round_off, seed=seed)
    return found


def means(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The oracle of the resize."""
    step = SIDE // SMALL
    return pixels.reshape(SMALL, step, SMALL, step).mean(axis=(1, 3))


def expected_changes(x: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """What the named changes make of a picture that they do not clip, in float64."""
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * x).astype(np.uint8)).save(file, "JPEG", quality=75)
    ramp = np.linspace(-0.01, 0.01, SIDE)
    return {
        "8-bit rounding": np.rint(255 * x) / 255,
        "JPEG quality 75": np.asarray(Image.open(file)) / 255,
        "brighter by 0.02": x + 0.02,
        "darker by 0.02": x - 0.02,
        "more contrast, factor 1.02": 0.5 + 1.02 * (x - 0.5),
        "larger gamma 1.05": x**1.05,
        "wider window, share 0.02": 0.5 + (x - 0.5) / 1.02,
        "higher window, share 0.01": x - 0.01,
        "exposure slope 0.02": x + ramp,
        "shift, px 1": np.concatenate([x[:, :1], x[:, :-1]], axis=1),
    }


def test_norms_are_those_of_the_changes_in_closed_form() -> None:
    picture, sigma = middle_gray(), 0.25
    source = source_of(picture)
    with collected() as case:
        for label, changed in expected_changes(picture).items():
            with case(label):
                found = norms(NAMES[label], source, sigma=sigma)
                exact = np.linalg.norm(means(changed) - means(picture)) / sigma
                assert not found.reason
                assert found.norms[0] == pytest.approx(exact, rel=2e-4, abs=1e-4)
    brighter = norms(NAMES["brighter by 0.02"], source, sigma=sigma).norms[0]
    assert brighter == pytest.approx(0.02 * SMALL / sigma, rel=1e-4), "b sqrt(n) / sigma"
    assert norms(NAMES["8-bit rounding"], source).norms[0] <= SMALL / 510 + 1e-4, "half a level in each pixel"


def test_clipping_is_in_the_norm() -> None:
    white = np.full((SIDE, SIDE), 1.0)
    white[: SIDE // 2] = 0.5
    found = norms(NAMES["brighter by 0.02"], source_of(white)).norms[0]
    assert found == pytest.approx(0.02 * SMALL * math.sqrt(0.5), rel=1e-3), "only half of the pixels can change"
    beyond = np.full((SIDE, SIDE), 1.5)
    beyond[: SIDE // 2] = 0.5
    source = source_of(beyond)
    assert norms(NAMES["brighter by 0.02"], source).norms[0] == pytest.approx(found)
    assert norms(NAMES["higher window, share 0.01"], source).norms[0] == pytest.approx(found / 2, rel=1e-3), (
        "a window acts on what lies behind white, which stays white"
    )


def test_blur_sharpening_and_rotation_keep_what_they_must() -> None:
    with collected() as case:
        impulse = np.full((SIDE, SIDE), 0.5)
        impulse[48, 48] = 0.7
        for label, centre in (
            ("Gaussian blur, px 1", 0.5 + 0.2 / (2 * math.pi)),
            ("unsharp mask of 2 px, amount 0.5", None),
        ):
            with case(label):
                change = NAMES[label]
                assert isinstance(change, PixelChange)
                changed = change.apply(impulse.astype(np.float32))
                # A sampled Gaussian of 2 px has 1/(8 pi) in its middle.
                wanted = centre if centre is not None else 0.5 + 0.2 * (1.5 - 0.5 / (8 * math.pi))
                assert changed[48, 48] == pytest.approx(wanted, rel=2e-2)
                assert changed.mean() == pytest.approx(impulse.mean(), abs=1e-5)
        with case("rotation"):
            change = NAMES["rotation, degrees 0.1"]
            assert isinstance(change, PixelChange)
            y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
            turned = change.apply((0.5 + x / 400).astype(np.float32))
            angle = math.radians(0.1)
            wanted_turn = 0.5 + (x * math.cos(angle) + y * math.sin(angle)) / 400
            other_turn = 0.5 + (x * math.cos(angle) - y * math.sin(angle)) / 400
            inner = (slice(4, -4), slice(4, -4))
            off = min(np.abs(turned - turn)[inner].max() for turn in (wanted_turn, other_turn))
            assert off < 1e-5


def test_random_changes_have_their_law_and_draws_of_their_own() -> None:
    source = source_of(np.full((SIDE, SIDE), 0.5))
    step = SIDE // SMALL
    for label, sd in (("detector noise, sd 0.01", 0.01), ("quantum noise, quanta a pixel 1000", math.sqrt(0.5 / 1000))):
        found = norms(NAMES[label], source)
        assert len(set(found.norms)) == N_DRAWS == 20
        # The means of step x step pixels have sd/step; the norm over n of them is sd/step sqrt(n) within a few percent.
        np.testing.assert_allclose(found.norms, sd / step * SMALL, rtol=0.15)
        assert np.mean(found.norms) == pytest.approx(sd / step * SMALL, rel=0.02)
        assert norms(NAMES[label], source).norms == found.norms
        assert not {*norms(NAMES[label], source, seed=1).norms} & {*found.norms}
        other = source_of(np.full((SIDE, SIDE), 0.5), pixel_sha256="1" * 64)
        assert not {*norms(NAMES[label], other).norms} & {*found.norms}


def test_a_resize_kernel_is_the_antialiased_one_of_another_library() -> None:
    picture = middle_gray()
    found = norms(NAMES["bilinear resize kernel"], source_of(picture)).norms[0]
    other = Image.fromarray(picture.astype(np.float32)).resize((SMALL, SMALL), Image.Resampling.BILINEAR)
    assert found == pytest.approx(np.linalg.norm(np.asarray(other) - means(picture)), rel=1e-3)
    whole = Source(source_of(picture).values, Compose([Identityd("image"), ScaleDisplayRanged("image")]))
    assert "no Resized step" in norms(NAMES["bilinear resize kernel"], whole).reason


def test_what_does_not_apply_says_why() -> None:
    eight_bit = source_of(
        np.rint(255 * middle_gray()) / 255, low=0, width=255, lossy_compression="JPEG", display_source="8-bit range"
    )
    table = source_of(middle_gray(), display_source="VOI LUT table 1 of 1")
    sigmoid = source_of(middle_gray(), display_source="window 1 of 1 (SIGMOID)")
    reasons = {
        "8-bit rounding": (eight_bit, "no more than 256 gray values"),
        "JPEG quality 95": (eight_bit, "a JPEG already"),
        "wider window, share 0.02": (table, "not by a linear window"),
        "higher window, share 0.01": (sigmoid, "not by a linear window"),
    }
    with collected() as case:
        for label, (source, reason) in reasons.items():
            with case(label):
                found = norms(NAMES[label], source)
                assert reason in found.reason and not found.norms
                assert not norms(NAMES[label], source_of(middle_gray())).reason
                (entry,) = ledger_record([found], 1e6, SPEC)
                assert (entry["norm"], entry["covered"], entry["reason"]) == (None, False, found.reason)


def test_the_reader_knows_a_jpeg(tmp_path: Path) -> None:
    gray = (chest_like(bits=8)).astype(np.uint8)
    files = {tmp_path / "a.png": "", tmp_path / "a.jpg": "JPEG", tmp_path / "b.dcm": "", tmp_path / "c.dcm": "JPEG"}
    for path in list(files)[:2]:
        Image.fromarray(gray).save(path)
    make_dx(tmp_path / "b.dcm")
    make_dx(
        tmp_path / "c.dcm",
        elements={"LossyImageCompression": "01", "LossyImageCompressionMethod": "ISO_10918_1"},
    )
    assert {path: ChestXRayReader().get_data(str(path))[1]["lossy_compression"] for path in files} == files


@functools.cache
def bundled() -> Compose:
    """The preprocessing of the shipped bundles, to a small input."""
    steps = [
        LoadImaged("image", reader=ChestXRayReader()),
        ScaleDisplayRanged("image"),
        CropCenterSquared("image"),
        Resized("image", (SMALL, SMALL), mode="area"),
        EnsureTyped("image", dtype=torch.float32),
    ]
    return Compose(steps)


def film(shape: tuple[int, int], aspect: float = 1.0) -> Source:
    """A film that some changes clip, on the path of the shipped bundles."""
    pixels = np.random.default_rng(5).normal(0.5, 0.4, shape)
    return Source(source_of(pixels, pixel_aspect=aspect).values, bundled())


@functools.cache
def films() -> dict[str, Source]:
    return {
        "sizes divide": film((96, 96)),
        "landscape": film((101, 140)),
        "portrait": film((140, 101)),
        "smaller than the input": film((13, 17)),
        "pixels are not square": film((90, 70), aspect=1.3),
        "many bands": film((701, 701)),
    }


def test_rows_give_the_values_of_the_whole_image() -> None:
    with collected() as case:
        for name, source in films().items():
            with case(name):
                loaded = {"image": MetaTensor(source.values, meta=source.values.meta)}
                assert source.row_path is not None
                by_rows = source.preprocess(source.pixels)
                # Values go to the display range and back, which costs a round-off.
                np.testing.assert_allclose(by_rows, bundled()(loaded, start=1)["image"].numpy(), rtol=0, atol=1e-6)
                whole = Source(source.values, Compose([*bundled().transforms, Identityd("image")]))
                assert whole.row_path is None, "another chain is not known"
                np.testing.assert_array_equal(by_rows, whole.preprocess(source.pixels))
    path = films()["many bands"].row_path
    assert path is not None and len(path.bands()) > 3


def test_named_changes_by_rows_are_those_of_the_whole_image() -> None:
    by_rows = [change for change in NAMED if change.by_rows]
    assert len(by_rows) == 14
    with collected() as case:
        for name in ("portrait", "many bands"):
            for change in by_rows:
                with case(name, change.label):
                    source = films()[name]
                    others = dataclasses.replace(change, by_rows=False).inputs(source, 3)
                    for _, made, whole in zip(range(2), change.inputs(source, 3), others):
                        np.testing.assert_array_equal(made, whole)


def test_changes_beside_each_other_keep_their_order_and_their_norms() -> None:
    source = films()["landscape"]
    clean = source.preprocess(source.pixels)

    def measured(changes: tuple[Change, ...]) -> tuple[MeasuredChange, ...]:
        return measure(changes, source, clean, norm=WhiteNoise(1.0).norm, round_off=0.0, seed=0)

    alone = [measured((change,))[0] for change in NAMED]
    assert [*measured(NAMED)] == alone
    assert [(one.name, one.value) for one in alone] == [(change.name, change.value) for change in NAMED]
    # Twice the same one, and two of which one fails.
    fails = PixelChange("fails", None, lambda pixels: pixels[1:], by_rows=True)
    again = measured((NAMED[0], fails, NAMED[0]))
    assert again[0] == again[2] == alone[0] and "the shape (" in again[1].reason


def test_a_change_that_fails_is_one_sentence_and_stops_nothing() -> None:
    def throws(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        raise RuntimeError("Patient^Name")

    faults: dict[str, Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]] = {
        "raised RuntimeError": throws,
        "no finite numbers": lambda pixels: pixels * np.float32(np.nan),
        "the shape (48, 96)": lambda pixels: pixels[::2],
        "a list": lambda pixels: pixels.tolist(),  # type: ignore[return-value]
    }
    source = source_of(middle_gray())
    changes = [*(PixelChange(f"mine: {reason}", None, apply) for reason, apply in faults.items()), NAMED[0]]
    clean = source.preprocess(source.pixels)
    found = measure(changes, source, clean, norm=WhiteNoise(1.0).norm, round_off=0.0, seed=0)
    with collected() as case:
        for one, reason in zip(found, faults):
            with case(reason):
                assert reason in one.reason and "Patient" not in one.reason and not one.norms
    assert found[-1].norms and not source.pixels.flags.writeable


def test_a_norm_is_never_rounded_down_and_inside_is_strict() -> None:
    for value in np.random.default_rng(0).random(50):
        exact = Fraction(value) * 2 / Fraction(0.3)  # sqrt(4 value^2) / sigma
        assert exact <= Fraction(WhiteNoise(0.3).norm(np.full(4, value))) < exact * (1 + Fraction(1, 10**12))
    assert norms(NAMED[0], source_of(middle_gray()), round_off=0.5).norms[0] > 0.5
    assert not covers(radius_in_noise(0.3, 0.1), math.nextafter(0.3 / 0.1, 4))
    radius = radius_in_noise(0.5, 0.25)
    assert covers(radius, math.nextafter(2.0, 0)) and not covers(radius, 2.0)
    assert not covers(radius_in_noise(0.0, 0.25), 0.0), "an abstention covers nothing"


def test_a_family_is_reached_up_to_its_first_change_that_is_not_covered() -> None:
    values = {1: 0.1, 2: 0.2, 3: 0.5, 4: 0.3}
    changes = [MeasuredChange(name="blur", value=value, norms=(norm,)) for value, norm in values.items()]
    drawn = [MeasuredChange(name="noise", value=sd, norms=norms, drawn=True) for sd, norms in DRAWS.items()]
    useless = MeasuredChange(name="8-bit rounding", value=None, reason="it has 8 bits.")
    ledger = ledger_record([*changes, *drawn, useless], 0.4, SPEC)
    assert [entry["covered"] for entry in ledger] == [True, True, False, True, True, False, False]
    assert reached(ledger) == ["blur 2", "noise 0.01 (2 of 2 draws)"]
    assert [entry["norm"] for entry in ledger[4:]] == [0.2, 0.5, None]
    assert ledger[5]["draws"] == {"norms": [0.1, 0.5], "covered": 1, "seed": 7, "protocol": "ledger/1"}


def test_a_covered_change_keeps_the_claim_of_a_linear_interpreter() -> None:
    # The map is the input itself: its expected votes follow from many copies.
    rng = np.random.default_rng(3)
    sigma, top_k, cells = 0.25, 40, SMALL * SMALL
    # Broad structure, by which some cells win clearly.
    picture = np.kron(rng.choice([0.25, 0.75], size=(SMALL, SMALL), p=[0.9, 0.1]), np.ones((4, 4)))
    source = source_of(picture)
    clean = source.preprocess(source.pixels)

    def counts(image: npt.NDArray[np.float32], n_samples: int) -> npt.NDArray[np.int64]:
        total = np.zeros(cells, dtype=np.int64)
        for _ in range(n_samples):
            noisy = image.ravel() + rng.normal(0, sigma, cells)
            total[np.argpartition(-noisy, top_k)[:top_k]] += 1
        return total

    votes = vote_map(counts(clean, 2000).reshape(SMALL, SMALL), n_samples=2000, top_k=top_k)
    certificate = certify_votes(votes, spec_of(votes, sigma=sigma), beta="0.5", eta=0.001)
    found = measure(NAMED, source, clean, norm=WhiteNoise(sigma).norm, round_off=0.0, seed=0)
    ledger = ledger_record(found, certificate.l_max, certificate.spec)
    inside = [change for change, entry in zip(NAMED, ledger) if entry["covered"]]
    assert len(inside) > 5
    reported = top_k_set(votes.counts.ravel(), top_k)
    for change in inside:
        changed = next(change.inputs(source, 0))
        kept = (reported & top_k_set(counts(changed, 4000), top_k)).sum()
        assert kept >= required_overlap(top_k, "0.5"), change.label
