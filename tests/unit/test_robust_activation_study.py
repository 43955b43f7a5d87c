"""The study of robust activation maps: its attacks keep to their balls, its statistics are the textbook's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from benchmarks.robust_activation_map import measure
from benchmarks.robust_activation_map.attack import ATTACKS, Attack, attacked, norms
from benchmarks.robust_activation_map.figures import map_row, maps_figure, ranks_figure
from benchmarks.robust_activation_map.page import sections, shares
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.metrics.ranks import class_ranks, spearman
from monai_robustinterp.study.machine import surroundings
from monai_robustinterp.training.tables import LabeledImage

CLASSES = 6


class Network(nn.Module):
    """A convolution, a ReLU, average pooling and a linear layer, with the layer name of the bundle's network."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict({"norm5": nn.Conv2d(1, 12, 8, stride=8)})
        self.head = nn.Linear(12, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.features["norm5"](image).relu().mean(dim=(2, 3)))


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Network().eval()


@pytest.fixture
def images(network: nn.Module) -> torch.Tensor:
    """Forty images [1, 64, 64] in [0, 1], after which the biases make all classes win somewhere."""
    images = torch.rand(40, 1, 64, 64, generator=torch.Generator().manual_seed(8))
    images = images * torch.linspace(0.1, 1, 40)[:, None, None, None]
    with torch.no_grad():
        network.head.bias -= network(images).median(dim=0).values
    return images


def measured(network: nn.Module, images: torch.Tensor) -> dict:
    with explaining(network):
        attacks = {attack.key: measure.measure(network, images, attack, seed=0) for attack in ATTACKS}
    return {
        "n_images": len(images),
        "validation": [i % 2 == 0 for i in range(len(images))],
        "seed": 0,
        "classes": [f"finding {i}" for i in range(CLASSES)],
        "side": 64,
        "n_cells": 64,
        "positions": [8, 8],
        "attacks": attacks,
        "weights_sha256": "0" * 64,
        "surroundings": surroundings("cpu", Path(__file__).parents[2]),
        "cpu_s": 60.0,
    }


class TestAttack:
    @pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.key)
    def test_images_stay_in_the_ball_and_in_the_range_and_change_class(self, network, images, attack) -> None:
        with explaining(network):
            moved = attacked(network, images, attack)
            flipped = network(moved).argmax(dim=1) != network(images).argmax(dim=1)
        delta = moved - images
        sizes = norms(delta).flatten() if attack.norm == "l2" else delta.abs().amax(dim=(1, 2, 3))
        assert (sizes <= attack.radii[-1] * (1 + 1e-5)).all() and (sizes > 0).all()
        assert moved.min() >= 0 and moved.max() <= 1
        assert flipped.float().mean() > 0.8

    def test_it_stops_within_a_quarter_of_the_first_radius_that_suffices(self, network, images) -> None:
        """Along the attack's own line: at 1 / 1.25^2 of the way the class is still the clean one for nearly all."""
        with explaining(network):
            moved = attacked(network, images, ATTACKS[0])
            before = network(images + (moved - images) / 1.25**2).argmax(dim=1)
            clean, after = network(images).argmax(dim=1), network(moved).argmax(dim=1)
        first = norms(moved - images).flatten() < 1.01 * ATTACKS[0].radii[0]
        assert (before == clean)[(after != clean) & ~first].float().mean() > 0.9

    @pytest.mark.parametrize(("norm", "radius"), [("l2", 0.3), ("linf", 0.01)])
    def test_an_attack_that_does_not_stop_reaches_the_edge(self, network, norm, radius) -> None:
        images = torch.rand(20, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.25
        attack = Attack("edge", "edge", norm, "cross-entropy", (radius,), steps=10, stops=False)
        with explaining(network):
            delta = attacked(network, images, attack) - images
        sizes = norms(delta).flatten() if norm == "l2" else delta.abs().amax(dim=(1, 2, 3))
        torch.testing.assert_close(sizes, torch.full((20,), radius), rtol=1e-4, atol=0)

    def test_the_margin_attack_ends_at_the_runner_up_and_an_image_is_attacked_alone(self, network, images) -> None:
        with explaining(network):
            clean = network(images)
            together = attacked(network, images, ATTACKS[2])
            alone = attacked(network, images[5:6], ATTACKS[2])
        ranks = class_ranks(clean, network(together).argmax(dim=1))
        assert (ranks[ranks > 1] == 2).float().mean() > 0.9
        torch.testing.assert_close(together[5:6], alone, rtol=0, atol=1e-5)


class TestStatistics:
    def test_cells_are_signed_means(self) -> None:
        maps = torch.zeros(1, 1, 16, 16)
        maps[..., :8, 8:], maps[..., 8:, :8] = -2.0, 1.0
        maps[0, 0, 15, 15] = 64.0
        assert measure.cells(maps).tolist() == [[0.0, -2.0, 1.0, 1.0]]

    def test_one_image_a_patient_is_drawn_and_validation_patients_first(self) -> None:
        items = [
            LabeledImage(
                image=f"{i}.png",
                source="chest_xray14",
                patient=f"chest_xray14 {i // 3}",
                split="validation" if i // 3 % 4 == 0 else "train",
                age=None,
                opacity=None,
                findings=None,
            )
            for i in range(120)
        ]
        drawn = measure.chosen(items, 15, seed=0)
        assert len({item["patient"] for item in drawn}) == 15
        assert sum(item["split"] == "validation" for item in drawn) == 10
        assert drawn == measure.chosen(items, 15, seed=0) != measure.chosen(items, 15, seed=1)
        assert len({int(item["image"][:-4]) % 3 for item in drawn}) > 1

    def test_shares_are_of_the_images_whose_class_changed(self) -> None:
        results = {
            "validation": [True, True, False, False, True],
            "attacks": {
                "one": {
                    "flipped": [True, True, False, True, True],
                    "rank_of_adversarial": [2, 6, 2, 5],
                }
            },
        }
        found = shares(results, "one", "rank_of_adversarial")
        assert (found["second"].value, found["top"].value) == (0.5, 0.75)
        exact = binomtest(3, 4).proportion_ci(method="wilson")
        assert (found["top"].low, found["top"].high) == pytest.approx((exact.low, exact.high))
        held_out = shares(results, "one", "rank_of_adversarial", validation=True)
        assert (held_out["second"].value, held_out["top"].value) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


class TestMeasure:
    def test_each_comparison_is_what_its_name_says(self, network, images) -> None:
        """With the attack that moves the features too."""
        with explaining(network):
            found = measure.measure(network, images, ATTACKS[3], seed=0)
            moved = attacked(network, images, ATTACKS[3])
            clean, after = network(images).argmax(dim=1), network(moved).argmax(dim=1)
            flipped = clean != after
            images, moved, clean, after = (x[flipped] for x in (images, moved, clean, after))
            first = measure.class_maps(network, images, clean)
            for name, picture, target in (("cam", moved, after), ("class", images, after), ("features", moved, clean)):
                second = measure.class_maps(network, picture, target)
                assert found["overlap"][name] == pytest.approx(measure.overlap(first, second), abs=1e-3)
                assert found["spearman"][name] == pytest.approx(spearman(first, second), abs=1e-3)
            robust = [measure.robust_maps(network, picture) for picture in (images, moved)]
        assert found["spearman"]["robust"] == pytest.approx(spearman(*robust), abs=1e-3)
        assert found["flipped"] == flipped.tolist()
        assert found["l2"] == pytest.approx(norms(moved - images).flatten().tolist())

    def test_class_maps_are_of_each_images_own_class(self, network, images) -> None:
        """At the middle of a cell the interpolation between the layer's positions is the position itself, nearly."""
        classes = torch.arange(len(images)) % CLASSES
        with explaining(network):
            found = measure.class_maps(network, images, classes)
            features = network.features["norm5"](images).relu()
            expected = torch.einsum("bk,bkhw->bhw", network.head.weight[classes], features).flatten(1)
        assert found.shape == (len(images), 64)
        correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(found, expected.double().numpy())]
        assert min(correlations) > 0.9

    def test_noise_of_the_same_norm_moves_less_than_the_attack(self, network, images) -> None:
        with explaining(network):
            found = measure.measure(network, images, ATTACKS[0], seed=0)
        assert np.mean(found["overlap"]["cam_noise"]) > np.mean(found["overlap"]["cam"]) + 0.2
        assert found["noise_flips"] < len(found["l2"]) / 2

    def test_page_and_pictures_come_from_the_results(self, network, images) -> None:
        results = measured(network, images)
        text = "\n".join(line for part in sections(results, pictures="../images", full=True) for line in part)
        for attack in ATTACKS:
            ranks = np.array(results["attacks"][attack.key]["rank_of_adversarial"])
            assert f"| {attack.title} | {len(ranks)} of 40 |" in text
            assert f"{(ranks == 2).mean():.2f} [" in text
        assert "*0.20*" in text and "*0.80*" in text  # five other classes
        bars = ranks_figure(results).axes[0].patches
        assert sum(bar.get_height() for bar in bars) == pytest.approx(len(ATTACKS))
        with explaining(network):
            row = map_row(network, images[:1], results["classes"])
        assert [picture.shape for picture in row.pictures] == [(64, 64, 3)] * 5
        assert len(maps_figure([row, row]).axes) == 10

    def test_an_attack_that_changes_no_class_leaves_dashes(self, network, images) -> None:
        results = measured(network, images)
        empty = results["attacks"]["l2"]
        empty |= {"flipped": [False] * len(images), "l2": [], "linf": []}
        empty |= {"rank_of_adversarial": [], "rank_of_original": [], "noise_flips": 0}
        for quantity in ("overlap", "spearman"):
            empty[quantity] = {name: [] for name in empty[quantity]}
        text = "\n".join(line for part in sections(results, pictures=".", full=False) for line in part)
        assert f"| {ATTACKS[0].title} | 0 of 40 | - | - | - | -, - | - | - |" in text and "nan" not in text
