"""What the network receives is looked at before any vote: no image is refused, one unlike the films gets a warning."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from monai_robustinterp import CertifiedSaliencyInferer, InputRefused, InputStatistics, load_bundle
from monai_robustinterp.audit import verify
from monai_robustinterp.io import load_votes
from monai_robustinterp.smoothing.input_check import check_input
from monai_robustinterp.study.films import prepared
from monai_robustinterp.visualize.caption import caption_lines
from tests.support.bundles import OPACITY
from tests.support.cases import collected
from tests.support.records import make_arrays, written

ROOT = Path(__file__).parents[2]
SAMPLES = sorted(path for path in (ROOT / "sample_data").iterdir() if path.suffix not in (".py", ".md"))
BUNDLES = ("chest_xray_certified_saliency", "chest_xray_findings")
# Trained on the films of the second, by the same path of intensities.
SAME_FILMS = "chest_xray_findings_evidence"
FEW = {"n_samples": 4, "device": "$__import__('torch').device('cpu')"}


def make_inferer(**changes: object) -> CertifiedSaliencyInferer:
    return CertifiedSaliencyInferer(**({"n_samples": 8, "cell_size": 4, "top_k": 6, "target": 0} | changes))


def mostly(value: float, share: float, image: torch.Tensor) -> torch.Tensor:
    """The image, with that share of its pixels at one value."""
    flat = image.flatten().clone()
    flat[: round(share * flat.numel())] = value
    return flat.reshape(image.shape)


def refused(image: torch.Tensor) -> dict[str, tuple[torch.Tensor, str]]:
    """What cannot be meant, and what is said of it."""
    inside = 0.02 + 0.96 * image
    return {
        "constant": (torch.full_like(image, 0.3), "every pixel .* is 0.3: there is nothing to explain"),
        "black": (torch.zeros_like(image), "every pixel"),
        "nearly black": (0.03 * image, "nearly constant: 0.000 to 0.030"),
        "nearly white": (1 - 0.03 * image, "nearly constant"),
        "nearly gray": (0.5 + 0.05 * (image - 0.5), "nearly constant"),
        "12 bits said to be 16": (image * 4095 / 65535, "nearly constant: 0.000 to 0.062"),
        "window far below": (mostly(1, 0.97, inside), "97.* are black or white to the full"),
        "window far above": (mostly(0, 0.96, inside), "96.* are black or white to the full"),
        "8 bits": (255 * image, r"from 0 to 255: it looks like stored pixel values"),
        "8 bits, integers": ((255 * image).to(torch.uint8), "it looks like stored pixel values"),
        "12 bits": (4095 * image, "it looks like stored pixel values"),
        "twice as bright": (2 * image, "it looks like stored pixel values"),
        "z-scores": ((image - image.mean()) / image.std(), "it looks normalized"),
        "[-1, 1]": (2 * image - 1, "from -1 to 1: it looks normalized"),
        "[-0.5, 0.5]": (image - 0.5, "it looks normalized"),
    }


def test_what_cannot_be_meant_is_refused_before_the_network_is_asked(image) -> None:
    network = nn.Module()  # it has no forward
    image = (image - image.min()) / (image.max() - image.min())
    with collected() as case:
        for name, (wrong, said) in refused(image).items():
            with case(name), pytest.raises(InputRefused, match=said):
                make_inferer().certify(wrong, network)


def test_an_image_that_is_no_tensor_is_named_with_what_to_do(tiny, image) -> None:
    for wrong in (image.numpy(), image.tolist(), None):
        with pytest.raises(TypeError, match=rf"image is a {type(wrong).__name__}; .*torch.from_numpy"):
            make_inferer().certify(wrong, tiny)
    again = make_inferer().certify(torch.from_numpy(image.numpy()), tiny)
    assert again.record == make_inferer().certify(image, tiny).record


def test_just_inside_of_what_is_refused_nothing_is_and_the_warning_says_it(tiny, image) -> None:
    image = (image - image.min()) / (image.max() - image.min())
    inside = 0.02 + 0.96 * image
    cases = {
        "": (image, image * 0.5, 0.5 + 0.1 * (image - 0.5), image * 1.04, mostly(0, 0.49, inside)),
        "outside of the display range": (image * 1.2, image - 0.2),
        "black or white to the full": (mostly(0, 0.6, inside), mostly(1, 0.9, inside)),
    }
    with collected() as case:
        for said, images in cases.items():
            for number, doubtful in enumerate(images):
                with case(said, number), warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    result = make_inferer().certify(doubtful, tiny)
                    found = [str(warning.message) for warning in caught]
                    assert list(result.votes.input_warnings) == found and len(found) == bool(said)
                    assert all(said in sentence for sentence in found)
                    assert set(found) <= set(result.record["notes"])


# ---- statistics of the training


def test_statistics_are_those_of_another_library() -> None:
    """Averages over fields by scipy's uniform filter, the correlation by numpy, the quantiles by numpy."""
    images = torch.rand(50, 1, 64, 48, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, 48)
    images = 0.4 * images + 0.5 * ramp * torch.linspace(0.2, 1, 50)[:, None, None, None]
    stack = images.double().numpy()[:, 0]
    # The filter's window of 4 x 3 pixels, at the centers of the fields.
    fields = ndimage.uniform_filter(stack, size=(0, 4, 3), mode="nearest")[:, 2::4, 1::3]
    mean_image = fields.mean(axis=0)
    rows = {
        "mean": stack.mean(axis=(1, 2)),
        "standard_deviation": stack.std(axis=(1, 2)),
        "coarse_share": fields.var(axis=(1, 2)) / stack.var(axis=(1, 2)),
        "likeness": np.array([np.corrcoef(field.ravel(), mean_image.ravel())[0, 1] for field in fields]),
    }
    found = InputStatistics.of(images)
    assert found.n_images == 50 and found.input_shape == (64, 48)
    np.testing.assert_allclose(found.mean_image.numpy(), mean_image, atol=1e-9)
    assert set(found.ranges) == set(rows)
    for name, values in rows.items():
        np.testing.assert_allclose(found.ranges[name], np.quantile(values, (0.001, 0.999)), atol=1e-9, err_msg=name)


def test_each_statistic_warns_on_both_sides_and_no_further() -> None:
    image = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    image[:, :, 16:] += 0.5
    image /= 1.5
    same = InputStatistics.of([image, image])
    values = {name: low for name, (low, _) in same.ranges.items()}
    labels = {"mean": "mean", "standard_deviation": "deviation", "coarse_share": "share", "likeness": "correlation"}
    with collected() as case:
        for name, value in values.items():
            for low, high, warns in ((0, 0.999, True), (1.001, 2, True), (0.999, 1.001, False)):
                limits = (low * value, high * value)
                statistics = dataclasses.replace(same, ranges=dict.fromkeys(values, (-9.0, 9.0)) | {name: limits})
                with case(name, low):
                    (sentence,) = check_input(image, statistics) or ("",)
                    assert (labels[name] in sentence) == warns and sentence.count("theirs") == warns


def test_statistics_are_read_as_they_were_written(tmp_path) -> None:
    statistics = InputStatistics.of(torch.rand(20, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    path = tmp_path / "statistics.json"
    path.write_text(statistics.to_json())
    again = InputStatistics.read(path)
    assert again.input_shape == (32, 32) and again.n_images == 20
    torch.testing.assert_close(again.mean_image, statistics.mean_image, rtol=0, atol=5.1e-5)
    assert json.loads(again.to_json()) == json.loads(statistics.to_json())
    content = json.loads(path.read_text())
    damaged = ["", "[]", "{}", json.dumps(content | {"mean_image": [[1.0]]}), json.dumps(content | {"ranges": {}})]
    with collected() as case:
        for text in damaged:
            path.write_text(text)
            with case(text[:40]), pytest.raises(ValueError, match="file of the input statistics is damaged"):
                InputStatistics.read(path)


def test_statistics_of_another_size_are_refused(tiny, image) -> None:
    other = InputStatistics.of(torch.rand(4, 1, 64, 64))
    with pytest.raises(ValueError, match=r"statistics are of images of \(64, 64\) pixels .* \(32, 32\)"):
        make_inferer(expected=other).certify(image, tiny)


# ---- the shipped bundles


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request: pytest.FixtureRequest):
    return load_bundle(request.param, FEW)


def unlike_films(film: torch.Tensor) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(film.shape, generator=generator)
    return {
        "inverted": 1 - film,
        "uniform noise": torch.rand(film.shape, generator=generator),
        "Gaussian noise": (0.5 + 0.2 * noise).clamp(0, 1),
        "noise of the film's own mean and deviation": (film.mean() + film.std() * noise).clamp(0, 1),
        "the film's pixels in another order": film.flatten()[torch.randperm(film.numel(), generator=generator)].reshape(
            film.shape
        ),
        "on its side": film.transpose(1, 2),
        "half black": 0.35 * film,
    }


def test_networks_of_the_same_films_know_the_same_films() -> None:
    statistics = [ROOT / "bundles" / name / "configs" / "input_statistics.json" for name in (BUNDLES[1], SAME_FILMS)]
    assert statistics[0].read_bytes() == statistics[1].read_bytes()


def test_no_sample_film_warns_and_what_is_unlike_all_films_does(bundle) -> None:
    expected = bundle.inferer.recipe.expected
    assert len(SAMPLES) == 8 and expected.input_shape == (128, 128)
    with collected() as case:
        for path in SAMPLES:
            film = prepared(bundle, path)
            with case(path.name):
                assert check_input(film, expected) == ()
            for name, image in unlike_films(film).items():
                # A film of two wide lungs looks much the same on its side.
                if name not in ("on its side", "half black") or path is SAMPLES[0]:
                    with case(path.name, name):
                        (sentence,) = check_input(image, expected)
                        assert f"unlike the {expected.n_images} images" in sentence


def test_the_warning_reaches_python_record_votes_picture_and_audit(bundle, tmp_path) -> None:
    image = 1 - prepared(bundle, SAMPLES[0])
    with pytest.warns(UserWarning, match="unlike the"):
        result = bundle.inferer.certify(image, bundle.network)
    (sentence,) = result.votes.input_warnings
    record, arrays = written(result.record), make_arrays(result.votes, result.certificate.spec, tmp_path)
    assert record["notes"][0] == sentence == result.certificate.notes[0] and sentence in caption_lines(record)
    votes, *_ = load_votes(tmp_path / "votes.npz")
    assert votes.input_warnings == (sentence,)
    arrays["provenance"] = np.array(json.dumps(record["provenance"]))
    assert verify(record, arrays).differences == ()
    others = {
        "taken out of the record": (record | {"notes": record["notes"][1:]}, arrays),
        "taken out of the votes": (record, {name: a for name, a in arrays.items() if name != "input_warnings"}),
        "changed": (record, arrays | {"input_warnings": np.array('["All is well."]')}),
    }
    with collected() as case:
        for name, (its_record, its_arrays) in others.items():
            with case(name):
                assert any(path.startswith("notes") for path in verify(its_record, its_arrays).differences)


def test_the_card_names_the_statistics_of_the_file(bundle) -> None:
    card = (bundle.root / "docs" / "README.md").read_text()
    expected = bundle.inferer.recipe.expected
    assert f"{expected.n_images:,} training films" in card
    for low, high in expected.ranges.values():
        assert re.search(rf"{low:.3f}\s+to\s+{high:.3f}", card), (low, high)


def test_without_statistics_only_the_general_rules_hold() -> None:
    bundle = load_bundle(OPACITY, overrides=FEW | {"input_statistics": ""})
    assert bundle.inferer.recipe.expected is None
    assert bundle.inferer.certify(1 - prepared(bundle, SAMPLES[0]), bundle.network).votes.input_warnings == ()
