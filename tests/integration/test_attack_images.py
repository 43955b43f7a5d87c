"""The plain attack on real radiographs with the shipped network."""

from __future__ import annotations

from pathlib import Path

import pytest

from monai_robustinterp import load_bundle
from monai_robustinterp.attacks import attack_certificate, attack_plain
from monai_robustinterp.attacks.maps import CellMap
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.noise.white import WhiteNoise
from tests.support.bundles import OPACITY

SAMPLES = Path(__file__).parents[2] / "sample_data"
# RMS of 2 of 255 gray levels a pixel.
RMS = 2 / 255


def halved(name: str, *, steps: int) -> tuple[int, int, float]:
    """Overlap and k of the plain gradient map, and the RMS of the perturbation."""
    bundle = load_bundle(OPACITY)
    image = bundle.preprocessing({"image": str(SAMPLES / name)})["image"].as_tensor()
    top_k = bundle.inferer.recipe.top_k
    with explaining(bundle.network):
        label = int(bundle.network(image[None]).argmax())
        reached, overlap = attack_plain(
            CellMap(bundle.network, bundle.inferer.recipe.interpreter, 1, bundle.inferer.recipe.cell_size),
            image,
            lambda delta: int(bundle.network((image + delta)[None]).argmax()) == label,
            top_k=top_k,
            swaps=top_k // 2 + 3,
            noise=WhiteNoise(1.0),
            radius=RMS * image.numel() ** 0.5,
            starts=image.new_zeros(1, *image.shape),
            steps=steps,
        )
        assert int(bundle.network((image + reached.delta)[None]).argmax()) == label
    return overlap, top_k, float(reached.delta.square().mean().sqrt())


def test_two_gray_levels_halve_the_plain_map_of_a_real_image() -> None:
    overlap, top_k, rms = halved("kermany_person1949_bacteria_4880.jpeg", steps=20)
    assert overlap <= top_k / 2 and rms <= RMS


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "kermany_NORMAL2-IM-1442-0001.jpeg",
        "kermany_person1947_bacteria_4876.jpeg",
        "kermany_person1951_bacteria_4882_dx.dcm",
    ],
)
def test_two_gray_levels_halve_the_plain_map_of_other_images(name) -> None:
    overlap, top_k, rms = halved(name, steps=40)
    assert overlap <= top_k / 2 and rms <= RMS


@pytest.mark.slow
def test_no_certificate_of_a_real_image_is_broken_inside_its_radius() -> None:
    bundle = load_bundle(OPACITY)
    image = bundle.preprocessing({"image": str(SAMPLES / "kermany_person1949_bacteria_4880.jpeg")})["image"]
    result = bundle.inferer.certify(image, bundle.network)
    (inside,) = attack_certificate(bundle.inferer, bundle.network, image, result, factors=(1.0,))
    assert not inside.broken and inside.plain_overlap <= inside.overlap
