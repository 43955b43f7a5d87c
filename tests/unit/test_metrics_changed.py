"""Metrics that make maps anew, of other networks and changed films, and how alike maps are; against other libraries."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
import torch
from captum.metrics import sensitivity_max
from monai.metrics.regression import SSIMMetric
from scipy.stats import spearmanr
from torch import nn

from benchmarks import parity_quantus
from monai_robustinterp.metrics.base import Array, Case, NotApplicable
from monai_robustinterp.metrics.changed_films import with_smooth_change, within_ball
from monai_robustinterp.metrics.randomized_network import randomized, stages
from monai_robustinterp.metrics.registry import make_metric
from monai_robustinterp.metrics.sanity import Order, similarity_path
from monai_robustinterp.metrics.similarity import hog, hog_correlation, rank_correlation, ssim, unit_range
from tests.support.cases import collected
from tests.support.networks import TinyClassifier

SIDE = 16
RNG = np.random.default_rng(0)
MAPS = [RNG.random((SIDE, SIDE)) for _ in range(4)]


class Mean(nn.Module):
    """Two logits: the film's mean, and none of it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        mean = images.double().mean(dim=(1, 2, 3))
        return torch.stack([mean, -mean], dim=1)


def of_film(network: nn.Module, image: torch.Tensor) -> Array:
    return image[0].numpy().astype(np.float64)


def case_of(explain: Callable[[nn.Module, torch.Tensor], Array], network: nn.Module | None = None) -> Case:
    image = 0.1 + 0.8 * torch.rand(1, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    network = network or Mean()
    return Case(
        network=network,
        image=image,
        target=0,
        multi_label=True,
        saliency=explain(network, image),
        explain=explain,
        top_k=64,
        others=MAPS[1:],
    )


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return TinyClassifier().eval()


def changed(network: nn.Module, other: nn.Module) -> set[str]:
    """Names of the layers whose parameters differ."""
    pairs = zip(network.state_dict().items(), other.state_dict().values())
    return {name.rpartition(".")[0] for (name, one), two in pairs if not torch.equal(one, two)}


class TestRandomizedNetworks:
    def test_stages_hold_all_layers_from_the_output_on(self) -> None:
        assert stages(tiny(), 2) == [["head", "features.3"], ["features.1", "features.0"]]
        assert stages(tiny(), 9) == [["head"], ["features.3"], ["features.1"], ["features.0"]]
        with pytest.raises(NotApplicable, match="shows no parameters"):
            stages(Mean(), 2)

    def test_the_named_layers_alone_are_drawn_and_the_same_ones_from_a_seed(self) -> None:
        network = tiny()
        network.features[1].running_mean.fill_(3.0)  # type: ignore[index, union-attr, operator]
        other = randomized(network, ["head", "features.1"], seed=1)
        assert changed(network, other) == {"head", "features.1"}
        assert not changed(other, randomized(network, ["head", "features.1"], seed=1))
        assert changed(other, randomized(network, ["head", "features.1"], seed=2)) == {"head"}

    def test_a_layer_without_a_default_has_its_values_shuffled(self) -> None:
        script = torch.jit.script(tiny())
        head = randomized(script, ["head"], seed=1).head.weight
        before = script.head.weight
        assert not torch.equal(head, before)
        assert torch.equal(head.flatten().sort().values, before.flatten().sort().values)


class TestSanityChecks:
    def test_a_map_of_the_film_alone_fails(self) -> None:
        case = case_of(of_film, tiny())
        assert make_metric("sanity_cascading").score(case) == pytest.approx(1)
        assert make_metric("sanity_independent", similarity="hog").score(case) == pytest.approx(1)
        for order in get_args(Order):
            assert make_metric("sanity_passed", order=order).score(case) == 0

    def test_a_map_of_the_weights_passes_in_the_order_that_is_asked_for(self) -> None:
        """The map has one half of the head's weights and one of the first layer's."""

        def of_weights(network: nn.Module, image: torch.Tensor) -> Array:
            layers = dict(network.named_modules())
            parts = [layers[name].weight.flatten()[:8] for name in ("head", "features.0")]
            halves = [(part / part.std()).repeat(SIDE) for part in parts]
            return torch.cat(halves).reshape(SIDE, SIDE).detach().numpy().astype(np.float64)

        case = case_of(of_weights, tiny())
        cascading, independent = (
            similarity_path(case, order=order, similarity="spearman", n_stages=4) for order in get_args(Order)
        )
        assert cascading[0] == cascading[1] == cascading[2] == independent[0] > cascading[3]
        assert independent[1:3] == pytest.approx([1, 1]) and independent[3] < 1
        assert make_metric("sanity_cascading", similarity="spearman").score(case) == cascading[3]
        four = make_metric("sanity_independent", similarity="spearman", n_stages=4)
        assert four.score(case) == pytest.approx(np.mean(independent))
        assert make_metric("sanity_passed").score(dataclasses.replace(case, others=[case.saliency] * 2)) == 1

    def test_the_threshold_is_the_mean_over_pairs_of_films(self) -> None:
        case = dataclasses.replace(case_of(of_film), saliency=MAPS[0])
        pairs = [ssim(one, other) for one, other in combinations(MAPS, 2)]
        assert make_metric("random_pair_ssim").score(case) == pytest.approx(np.mean(pairs))
        three = make_metric("random_pair_ssim", n_pairs=3)
        means = np.array([np.mean(some) for some in combinations(pairs, 3)])
        assert np.isclose(means, three.score(case)).any()
        assert len({three.score(dataclasses.replace(case, seed=seed)) for seed in range(9)}) > 1


class TestSimilarity:
    def test_ssim_is_monais_within_the_edges(self) -> None:
        """MONAI leaves windows over the edge out: so do the cells that are counted here, of maps 0 beyond them."""
        first, second = (np.pad(values, 16) for values in MAPS[:2])
        maps = [torch.as_tensor(unit_range(values))[None, None] for values in (first, second)]
        inner = SSIMMetric(spatial_dims=2, data_range=1.0, win_size=11, kernel_sigma=1.5)(*maps)
        cells, kept = first.size, (first.shape[0] - 10) ** 2
        # The five cells at each edge, beside zeros only, are alike.
        assert ssim(first, second) == pytest.approx((float(inner) * kept + cells - kept) / cells, abs=1e-6)

    def test_ssim_takes_maps_of_any_size_and_range(self) -> None:
        assert ssim(MAPS[0], 5 * MAPS[0] - 2) == pytest.approx(1)
        assert ssim(np.eye(2), np.eye(2)) == pytest.approx(1)
        assert ssim(np.eye(2), 1 - np.eye(2)) < 0
        assert ssim(MAPS[0], np.ones_like(MAPS[0])) < 0.1

    def test_rank_correlations_are_scipys(self) -> None:
        first, second = MAPS[:2]
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first.ravel(), second.ravel()).statistic)
        expected = spearmanr(hog(unit_range(first)), hog(unit_range(second))).statistic
        assert hog_correlation(3 * first, second + 1) == pytest.approx(expected)
        assert hog_correlation(first, np.ones_like(first)) == 0

    def test_histograms_have_the_gradients_of_their_cells(self) -> None:
        """Of a ramp across, in cells of one value: all of the first orientation, none at the edges."""
        ramp = np.tile(np.arange(8.0), (8, 1))
        blocks = hog(ramp).reshape(6, 6, 9, 3, 3)
        assert not blocks[:, :, 1:].any()
        assert not blocks[:, 0, 0, :, 0].any() and not blocks[:, -1, 0, :, -1].any()
        # Nine equal values of norm 1 are 1/3, clipped to .2, and 1/3 again.
        assert blocks[:, 2, 0] == pytest.approx(np.full((6, 3, 3), 1 / 3))
        assert hog(ramp.T).reshape(6, 6, 9, 3, 3)[2, 2, 4] == pytest.approx(np.full((3, 3), 1 / 3))
        # Without sign, and with large values clipped: gradients of x^3 are 6 x^2 + 2, and 8, 26, 56 around x = 2.
        assert np.array_equal(hog(-ramp), hog(ramp))
        row = np.array([8.0, 26.0, 56.0])
        row = (row / np.sqrt(3 * (row**2).sum())).clip(max=0.2)
        row /= np.sqrt(3 * (row**2).sum())
        assert hog(ramp**3).reshape(6, 6, 9, 3, 3)[2, 1, 0] == pytest.approx(np.tile(row, (3, 1)))
        # Of 28 values, cells have two; 14 of them make 12 blocks.
        assert hog(np.kron(ramp[:7, :7], np.ones((4, 4)))).shape == (12 * 12 * 9 * 9,)


class TestStability:
    def test_max_sensitivity_is_captums_on_the_same_films(self) -> None:
        def squares(network: nn.Module, image: torch.Tensor) -> Array:
            return image[0].numpy().astype(np.float64) ** 2

        case = case_of(squares)
        films = torch.stack(list(within_ball(case.image, radius=0.05, number=7, seed=0)))
        expected = sensitivity_max(
            lambda inputs: tuple(one.double() ** 2 for one in (inputs if isinstance(inputs, tuple) else (inputs,))),
            case.image[None],
            perturb_func=lambda inputs, radius: films,
            n_perturb_samples=7,
        )
        metric = make_metric("max_sensitivity", radius=0.05, n_samples=7)
        assert metric.score(case) == pytest.approx(float(expected))
        assert make_metric("max_sensitivity", radius=0).score(case) == 0

    def test_films_of_a_ball_stay_in_it_and_fill_it(self) -> None:
        image = torch.full((1, SIDE, SIDE), 0.5)
        changes = torch.stack([film - image for film in within_ball(image, radius=0.1, number=20, seed=0)])
        assert changes.abs().max() <= 0.1 and changes.min() < -0.099 and changes.max() > 0.099
        assert all(film.max() <= 1 for film in within_ball(image + 0.5, radius=0.1, number=3, seed=0))

    def test_smooth_changes_have_one_size(self) -> None:
        image = torch.full((1, 64, 48), 0.5)
        fields = [film - image for film in with_smooth_change(image, size=0.05, number=3, seed=0)]
        assert [float(field.square().mean().sqrt()) for field in fields] == pytest.approx([0.05] * 3, rel=1e-4)
        # Neighbors are alike, the three fields are not.
        assert all(float(field.diff().square().mean().sqrt()) < 0.025 for field in fields)
        assert float((fields[0] * fields[1]).mean()) / 0.05**2 < 0.5

    def test_repeatability_counts_the_cells_that_stay(self) -> None:
        shifts: Iterator[int] = iter([0, 0, 16, 64])

        def moved(network: nn.Module, image: torch.Tensor) -> Array:
            return np.roll(-np.arange(256.0), next(shifts)).reshape(SIDE, SIDE)

        # The top 64 are cells 0 to 63, of which 64, 48 and 0 stay.
        assert make_metric("repeatability", n_repeats=3).score(case_of(moved)) == pytest.approx((1 + 0.75 + 0) / 3)

    def test_film_overlap_is_the_mean_over_other_films(self) -> None:
        case = dataclasses.replace(case_of(of_film), saliency=MAPS[0])
        own, *others = (set(np.argsort(-one.ravel())[:64].tolist()) for one in MAPS)
        expected = np.mean([len(own & other) / 64 for other in others])
        assert make_metric("film_overlap").score(case) == pytest.approx(expected)


def test_the_comparison_with_quantus_says_why_it_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "quantus", None)
    assert parity_quantus.main() == 0
    assert "skipped: " in capsys.readouterr().out


class TestPredictionSaliencyCorrelation:
    def test_a_map_that_follows_the_score_has_1_and_one_that_goes_against_it_minus_1(self) -> None:
        base, other = np.arange(256.0).reshape(SIDE, SIDE), RNG.permutation(256.0 * np.arange(256)).reshape(SIDE, SIDE)

        def case(share: Callable[[float], float]) -> Case:
            def explain(network: nn.Module, image: torch.Tensor) -> Array:
                mean = float(image.double().mean())
                start.append(mean)
                return base + share(abs(mean - start[0])) * other

            start: list[float] = []
            return case_of(explain)

        psc = make_metric("psc")
        with collected() as one:
            for expected, share in ((1, lambda change: change), (-1, lambda change: 0.1 - change if change else 0)):
                with one(expected):
                    assert expected * psc.score(case(share)) > 0.99

    def test_changes_that_are_all_alike_have_no_correlation(self) -> None:
        with pytest.raises(NotApplicable, match="the map changes alike"):
            make_metric("psc").score(case_of(lambda network, image: MAPS[0]))
        flat = dataclasses.replace(case_of(of_film), network=nn.Sequential(Mean(), nn.Hardtanh(0.0, 1e-30)))
        flat = dataclasses.replace(flat, target=1)
        with pytest.raises(NotApplicable, match="the score changes alike"):
            make_metric("psc").score(flat)


def test_maps_made_anew_are_compared_with_the_film_s_own_made_alike() -> None:
    """Votes of fewer copies are another map; that alone must not look like a change."""
    torch.manual_seed(0)
    few, many = np.random.default_rng(0).random((2, 4, 4))
    image = torch.rand(1, 8, 8)
    case = Case(
        network=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).eval(),
        image=image,
        target=1,
        multi_label=False,
        saliency=many,
        explain=lambda network, image: few,
        top_k=4,
        anew=few,
    )
    assert make_metric("max_sensitivity").score(case) == 0
    assert make_metric("repeatability").score(case) == 1
    assert make_metric("sanity_cascading").score(case) == pytest.approx(1)
    assert make_metric("max_sensitivity").score(dataclasses.replace(case, anew=None)) > 0
