"""Sampling, loss, evaluation and files of a training, each against what can be worked out by hand."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from torch import nn

from monai_robustinterp import InputRefused, training
from monai_robustinterp.bundle import load_weights
from monai_robustinterp.files import file_sha256
from monai_robustinterp.training.evaluation import noisy_logits
from monai_robustinterp.training.report import evaluation_table


def item(source="kermany", patient="kermany P1", opacity=None, findings=None, age=None):
    return {
        "image": "x.png",
        "source": source,
        "patient": patient,
        "split": "train",
        "age": age,
        "opacity": opacity,
        "findings": findings,
    }


class MeanClassifier(nn.Module):
    """Logits 0 and (mean - offset) * slope: decides by brightness, so every figure can be foreseen."""

    def __init__(self, offset: float = 0.5, slope: float = 100.0) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[0.0], [slope]]))
            self.head.bias.copy_(torch.tensor([0.0, -offset * slope]))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image.mean(dim=(2, 3)))


def flat_images(values) -> list[torch.Tensor]:
    return [torch.full((1, 8, 8), float(value)) for value in values]


def test_the_sampler_gives_every_group_its_share_and_repeats_with_the_seed() -> None:
    groups = ["large"] * 900 + ["small"] * 30
    torch.manual_seed(3)
    sampler = training.balanced_sampler(groups, 20_000)
    drawn = list(sampler)
    share = Counter(groups[i] for i in drawn)["small"] / len(drawn)
    assert abs(share - 0.5) < 5 * np.sqrt(0.25 / 20_000)
    torch.manual_seed(3)
    assert list(sampler) == drawn
    with pytest.raises(InputRefused, match="1 group"):
        training.balanced_sampler(["a", "a"], 10)


def test_the_findings_loss_is_weighted_cross_entropy_over_the_known_labels() -> None:
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.7]])
    labels = torch.tensor([[1.0, float("nan")], [0.0, 1.0]])
    loss = training.FindingsLoss(np.array([3.0, 5.0], dtype=np.float32), label_smoothing=0.1)(logits, labels)
    terms = []
    for z, y, w in ((0.3, 0.95, 3.0), (2.0, 0.05, 3.0), (0.7, 0.95, 5.0)):
        p = 1 / (1 + np.exp(-z))
        terms.append(-(w * y * np.log(p) + (1 - y) * np.log(1 - p)))
    assert loss.item() == pytest.approx(np.mean(terms), rel=1e-5)


def test_unknown_labels_have_no_gradient_and_a_batch_of_them_no_loss() -> None:
    logits = torch.tensor([[0.3, -1.2]], requires_grad=True)
    loss = training.FindingsLoss(np.ones(2, dtype=np.float32))
    loss(logits, torch.tensor([[1.0, float("nan")]])).backward()
    assert logits.grad[0, 0] != 0 and logits.grad[0, 1] == 0
    assert loss(logits, torch.full((1, 2), float("nan"))).item() == 0


def test_the_loss_is_taken_where_the_logits_are() -> None:
    """A trainer moves the network to the GPU and leaves the loss behind; torch's meta device is another one, too."""
    loss = training.FindingsLoss(np.ones(2, dtype=np.float32))
    assert loss(torch.zeros(3, 2, device="meta"), torch.zeros(3, 2, device="meta")).device.type == "meta"


def test_labels_and_their_weights() -> None:
    findings = [{"Edema": 1, "Mass": 0}, {"Edema": 0, "Mass": None}, {"Edema": 0, "Mass": 0}, {"Edema": 0}]
    labels = training.finding_labels([item(findings=f) for f in [*findings, None]], ["Edema", "Mass"])
    expected = [[1, 0], [0, np.nan], [0, 0], [0, np.nan], [np.nan, np.nan]]
    np.testing.assert_array_equal(labels, np.array(expected, dtype=np.float32))
    # Edema: 3 negatives to 1 positive; Mass has no positive: the largest weight at 2 negatives is 2.
    np.testing.assert_array_equal(training.positive_weights(labels), [3.0, 2.0])
    np.testing.assert_array_equal(training.positive_weights(labels, largest=1.5), [1.5, 1.5])


def test_noisy_logits_depend_on_seed_and_draw_alone() -> None:
    draw = torch.Generator().manual_seed(0)
    network, images = MeanClassifier(), [torch.rand(1, 8, 8, generator=draw) for _ in range(5)]
    all_draws = noisy_logits(network, images, sigma=0.2, n_draws=40)
    assert all_draws.shape == (5, 40, 2)
    np.testing.assert_allclose(noisy_logits(network, images[2:], sigma=0.2, n_draws=3), all_draws[2:, :3], rtol=1e-5)
    assert not np.allclose(noisy_logits(network, images, sigma=0.2, n_draws=40, seed=1), all_draws)
    # The mean of 64 pixels has noise sigma / 8.
    spread = all_draws[..., 1].std(axis=1).mean() / 100
    assert spread == pytest.approx(0.2 / 8, rel=0.15)
    clean = noisy_logits(network, images, sigma=0.0, n_draws=40)
    assert clean.shape == (5, 1, 2)
    assert clean[:, 0, 1] == pytest.approx([100 * (float(x.mean()) - 0.5) for x in images], rel=1e-3, abs=1e-4)


def test_evaluation_of_a_classifier_whose_figures_are_known() -> None:
    """Brightness 0.45, 0.52 / 0.48, 0.60 without / with opacity: 3 of 4 pairs in order, one error on each side."""
    images = flat_images([0.45, 0.52, 0.48, 0.60])
    items = [item(patient=f"kermany P{i}", opacity=int(i > 1)) for i in range(4)]
    figures = training.evaluate(MeanClassifier(), images, training.opacity_groups(items), sigmas=(0.0, 0.1), n_draws=64)
    kermany = figures["kermany"]
    assert (kermany["n_positive"], kermany["n_negative"], kermany["n_patients"]) == (2, 2, 4)
    assert kermany["auc"]["0"]["value"] == 0.75
    assert kermany["sensitivity"]["value"] == kermany["specificity"]["value"] == 0.5
    # Decisions flip with probability Phi(-|x - 0.5| / (0.1 / 8)).
    from scipy.stats import norm

    kept = np.mean([norm.cdf(distance / 0.0125) for distance in (0.05, 0.02, 0.02, 0.10)])
    agreement = kermany["agreement"]["0.1"]
    assert agreement["value"] == pytest.approx(kept, abs=0.04)
    assert agreement["low"] < agreement["value"] < agreement["high"]
    assert 0 < kermany["kappa"]["0.1"] < agreement["value"]
    quick = training.areas_under_curve(MeanClassifier(), images, training.opacity_groups(items), sigmas=(0.0,))
    assert quick == {"kermany 0": 0.75}


def test_groups_keep_sources_apart_and_leave_unknown_labels_out() -> None:
    items = [
        item("kermany", "kermany P1", 1),
        item("chest_xray14", "chest_xray14 7", 0, {"Mass": 1, "Edema": 1}, age=40),
        item("chest_xray14", "chest_xray14 7", None, {"Edema": None}, age=40),
        item("chest_xray14", "chest_xray14 8", 1, {"Mass": 0, "Edema": 0}, age=18),
        item("kermany", "kermany P2", 0),
        item("chest_xray14", "chest_xray14 9", 0, {}, age=17),
    ]
    nih, adults, kermany = training.opacity_groups(items)
    assert (nih.name, nih.rows.tolist(), nih.positive.tolist()) == ("chest_xray14", [1, 3, 5], [False, True, False])
    assert (adults.name, adults.rows.tolist()) == ("chest_xray14, adults", [1, 3])
    assert (kermany.name, kermany.rows.tolist()) == ("kermany", [0, 4])
    _, edema = training.finding_groups(items, ["Mass", "Edema"])
    assert (edema.rows.tolist(), edema.positive.tolist(), edema.output) == ([1, 3], [True, False], 1)
    assert edema.patients == ("chest_xray14 7", "chest_xray14 8")
    with pytest.raises(InputRefused, match=r"'Hernia' .* 0 positive and 0 negative"):
        training.finding_groups(items, ["Hernia"])
    with pytest.raises(InputRefused, match="min_positives"):
        training.finding_groups(items, [])


def test_the_operating_point_moves_to_youdens_and_no_image_lies_on_it() -> None:
    images = flat_images([0.1, 0.2, 0.3, 0.4])
    items = [item(patient=f"chest_xray14 {i}", findings={"A": int(i < 2), "B": int(i > 1)}) for i in range(4)]
    groups = training.finding_groups(items, ["A", "B"])
    network = MeanClassifier(offset=0.9, slope=10.0)
    with torch.no_grad():
        network.head.weight[0] = -20.0
    training.shift_to_youden(network, network.head, images, groups)
    logits = noisy_logits(network, images, sigma=0.0)[:, 0]
    # Half way between 0.2 and 0.3 for both: distances 1.5 and 0.5 grid steps times the slopes.
    assert logits[:, 0] == pytest.approx([3.0, 1.0, -1.0, -3.0], abs=1e-4)
    assert logits[:, 1] == pytest.approx([-1.5, -0.5, 0.5, 1.5], abs=1e-4)


def test_an_operating_point_that_calls_every_image_positive_does() -> None:
    """The darkest of three is the positive one: every cut above its score has a negative index."""
    images = flat_images([0.1, 0.2, 0.3])
    items = [item(patient=f"chest_xray14 {i}", findings={"A": int(i == 0), "B": int(i == 0)}) for i in range(3)]
    network = MeanClassifier(offset=0.9, slope=10.0)
    with torch.no_grad():
        network.head.weight[0] = 10.0
    training.shift_to_youden(network, network.head, images, training.finding_groups(items, ["A", "B"]))
    assert (noisy_logits(network, images, sigma=0.0)[:, 0] > 0).all()


def test_a_trunk_fits_but_for_its_last_layer(tmp_path) -> None:
    def densenet(out_channels: int, growth_rate: int = 4) -> DenseNet:
        return DenseNet(2, 1, out_channels, init_features=8, growth_rate=growth_rate, block_config=(2, 2))

    trunk = densenet(2)
    path = tmp_path / "trunk.pt"
    training.save_weights(trunk, path)
    network = densenet(5)
    head = network.class_layers.out.weight.clone()
    assert training.load_trunk(network, path) is network
    for name, value in network.state_dict().items():
        if not name.startswith("class_layers.out"):
            assert torch.equal(value, trunk.state_dict()[name]), name
    assert torch.equal(network.class_layers.out.weight, head)
    with pytest.raises(InputRefused, match="do not fit"):
        training.load_trunk(densenet(2, growth_rate=8), path)
    state = torch.load(path, weights_only=True)
    state["features.conv0.weight"] = torch.zeros(8, 3, 7, 7)
    torch.save(state, tmp_path / "color.pt")
    with pytest.raises(InputRefused, match="do not fit"):
        training.load_trunk(densenet(2), tmp_path / "color.pt")
    same_outputs = densenet(2)
    head = same_outputs.class_layers.out.weight.clone()
    assert torch.equal(training.load_trunk(same_outputs, path).class_layers.out.weight, head)
    untouched = densenet(3)
    assert training.load_trunk(untouched, None) is untouched


def test_weights_are_plain_tensors_and_replace_a_file(tmp_path) -> None:
    path = tmp_path / "new" / "model.pt"
    first, second = MeanClassifier(offset=0.1), MeanClassifier(offset=0.2)
    training.save_weights(first, path)
    training.save_weights(second, path)
    loaded = load_weights(MeanClassifier(), path)
    assert torch.equal(loaded.head.bias, second.head.bias)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]


def test_the_evaluation_names_its_weights_and_prints_every_figure(tmp_path) -> None:
    images = flat_images([0.45, 0.52, 0.48, 0.60])
    items = [item(patient=f"kermany P{i}", opacity=int(i > 1)) for i in range(4)]
    figures = training.evaluate(MeanClassifier(), images, training.opacity_groups(items), sigmas=(0.0, 0.1))
    weights = tmp_path / "model.pt"
    training.save_weights(MeanClassifier(), weights)
    training.write_evaluation(figures, tmp_path / "out", weights=weights, settings={"seed": 0})
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert report["weights_sha256"] == file_sha256(weights)
    assert report["groups"] == figures and report["settings"] == {"seed": 0}
    table = (tmp_path / "out" / "evaluation.md").read_text()
    assert table == evaluation_table(figures)
    header, _, row = table.splitlines()
    assert header.count("|") == row.count("|")
    assert "| 2 / 2 (4) | 0.750 [" in row and "0.500 [0.095, 0.905]" in row


def test_the_learning_curve_writes_a_row_an_epoch_and_a_picture(tmp_path) -> None:
    from monai.engines import SupervisedTrainer
    from PIL import Image

    network = MeanClassifier()
    data = [{"image": torch.rand(2, 1, 8, 8), "label": torch.tensor([0, 1])}] * 3
    values = iter([0.6, 0.7])
    curve = training.LearningCurve(lambda: {"kermany 0": next(values)}, tmp_path / "run")
    SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=data,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.0),
        loss_function=nn.CrossEntropyLoss(),
        train_handlers=[curve],
        decollate=False,
    ).run()
    header, first, second = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert header == "epoch,elapsed_s,loss,kermany 0"
    assert first.startswith("1,") and first.endswith(",0.6") and second.endswith(",0.7")
    loss = nn.functional.cross_entropy(network(data[0]["image"]), data[0]["label"]).item()
    assert float(first.split(",")[2]) == pytest.approx(loss, rel=1e-4)
    with Image.open(tmp_path / "run" / "curves.png") as picture:
        assert picture.size[0] > 500


def test_images_are_joined_with_the_masks_of_their_names(tmp_path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("x.png", "sub/other.png"):
        (tmp_path / name).touch()
    (joined,) = training.with_masks([item(), item() | {"image": "without.jpg"}], tmp_path)
    assert (joined["image"], joined["mask"], joined["split"]) == ("x.png", str(tmp_path / "x.png"), "train")
    with pytest.raises(InputRefused, match="none of the images has a mask: the folder holds 2 masks"):
        training.with_masks([item() | {"image": "without.jpg"}], tmp_path)


def test_the_dice_of_a_curve_is_that_of_the_masks() -> None:
    label = torch.zeros(1, 8, 8)
    label[:, :4] = 1
    images = [2 * label - 1, torch.ones(1, 8, 8)]
    # The first answer is the mask itself, the second everything: 2 * 32 / (64 + 32).
    network = nn.Conv2d(1, 1, 1)
    with torch.no_grad():
        network.weight.fill_(1.0)
        network.bias.fill_(0.0)
    dataset = [{"image": image, "label": label} for image in images]
    assert training.mean_dice(network, dataset)["dice"] == pytest.approx((1 + 2 / 3) / 2)


def test_weights_between_two_networks_are_on_the_line_between_them() -> None:
    start, end = (nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(2))
    with torch.no_grad():
        start[0].weight.fill_(1.0)
        end[0].weight.fill_(3.0)
    end[1].num_batches_tracked += 7
    between = training.interpolate_weights(end, start, share=0.25)
    assert (between[0].weight == 1.5).all() and between[1].num_batches_tracked == 7
    assert (end[0].weight == 3.0).all() and (start[0].weight == 1.0).all()
    with pytest.raises(InputRefused, match=r"share of the training is 1\.5"):
        training.interpolate_weights(end, start, share=1.5)
