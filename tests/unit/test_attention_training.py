"""Training of evidence by position: places, noise, and a loss that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from monai.networks.nets import DenseNet
from torch import nn

from monai_robustinterp import interpreters, training
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.networks import Denoiser, EvidenceDenseNet, LungFields


class Halves(nn.Module):
    """Says lung everywhere but in the middle columns, the top and the bottom."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.full_like(images, 20.0)
        side = images.shape[-1]
        logits[..., side * 7 // 16 : side * 9 // 16] = -20.0
        logits[..., : side // 4, :] = logits[..., -side // 4 :, :] = -20.0
        return logits


def test_the_class_activation_map_of_an_evidence_network_is_its_own_account() -> None:
    torch.manual_seed(0)
    network = EvidenceDenseNet(init_features=8, growth_rate=4, block_config=(1, 1, 1, 1), n_maps=2).eval()
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        logits = network(images)
        evidence = network.evidence(network.features(images))
    assert evidence.shape == (3, 2, 8, 8) and (evidence >= 0).all()
    found = interpreters.CAM(target_layer="evidence").attribute(network, images, 1)
    torch.testing.assert_close(found.logits, logits)
    # The map is the evidence at the input's size, so its mean is the logit without the bias.
    account = (network.head.weight[1][:, None, None] * evidence).sum(dim=1).mean(dim=(1, 2)) + network.head.bias[1]
    torch.testing.assert_close(account, logits[:, 1])
    expected = nn.functional.interpolate(
        (network.head.weight[1][:, None, None] * evidence).sum(dim=1, keepdim=True), size=(64, 64), mode="bilinear"
    )
    torch.testing.assert_close(found.maps, expected)


def ordinary_and_evidence(folder) -> tuple[DenseNet, EvidenceDenseNet]:
    """An ordinary DenseNet with statistics of its own, and one of evidence that begins with its weights."""
    sizes = {"init_features": 8, "growth_rate": 4, "block_config": (2, 2, 2, 2)}
    torch.manual_seed(0)
    ordinary = DenseNet(spatial_dims=2, in_channels=1, out_channels=2, **sizes)
    with torch.no_grad():
        for _ in range(20):
            ordinary(torch.rand(8, 1, 64, 64))
    training.save_weights(ordinary, folder / "ordinary.pt")
    return ordinary.eval(), training.load_evidence(EvidenceDenseNet(**sizes), folder / "ordinary.pt").eval()


def test_every_fourth_position_has_the_ordinary_network_s_features(tmp_path) -> None:
    ordinary, evidence = ordinary_and_evidence(tmp_path)
    images = torch.rand(2, 1, 128, 128)
    with torch.no_grad():
        dense, coarse = evidence.features(images), ordinary.features(images)
    assert dense.shape[-2:] == (16, 16) and coarse.shape[-2:] == (4, 4) and coarse.abs().max() > 0.5
    torch.testing.assert_close(dense[..., ::4, ::4], coarse, rtol=1e-4, atol=1e-5)


def test_the_first_logits_are_about_the_ordinary_network_s(tmp_path) -> None:
    ordinary, evidence = ordinary_and_evidence(tmp_path)
    # Small weights: the softplus is nearly linear there, and all positions of a constant image are alike inside.
    with torch.no_grad():
        ordinary.class_layers.out.weight *= 0.05
    training.save_weights(ordinary, tmp_path / "small.pt")
    training.load_evidence(evidence, tmp_path / "small.pt")
    with torch.no_grad():
        features = evidence.features(torch.rand(4, 1, 128, 128))
        mean = ordinary.class_layers(features)
        found = evidence.head(evidence.pool(evidence.evidence(features)).flatten(1))
    torch.testing.assert_close(found[:, 1] - found[:, 0], mean[:, 1] - mean[:, 0], rtol=0.02, atol=0.002)


def test_weights_of_other_features_or_classes_are_refused(tmp_path) -> None:
    sizes = {"init_features": 8, "growth_rate": 4, "block_config": (1, 1, 1, 1)}
    network = EvidenceDenseNet(**sizes)
    for classes, more, sentence in (
        (3, {}, "no last layer"),
        (2, {"growth_rate": 8}, "features of the weights do not"),
    ):
        other = DenseNet(spatial_dims=2, in_channels=1, out_channels=classes, **{**sizes, **more})
        training.save_weights(other, tmp_path / "other.pt")
        with pytest.raises(InputRefused, match=sentence):
            training.load_evidence(network, tmp_path / "other.pt")


def test_places_are_the_lungs_and_the_boxes_in_the_frame_of_the_film(tmp_path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("image,label,x,y,w,h\na.png,Opacity,256,512,128,256\nb.png,Opacity,0,0,10,10\n")
    boxes = training.read_boxes(table, frame=1024)
    items = [
        {"image": f"/films/{name}.jpg", "opacity": opacity}
        for name, opacity in (("a", 1), ("a", 0), ("b", 1), ("c", 1))
    ]
    entries = training.attention_items(items, boxes)
    assert [[len(boxes) for boxes in entry["boxes"]] for entry in entries] == [[1], [0], [1], [0]]
    draw = training.DrawPlacesd("image", lung_fields=LungFields(Halves(), name="halves"))
    drawn = draw(entries[0] | {"image": torch.rand(1, 128, 128)})
    assert drawn["places"].shape == (2, 128, 128) and "boxes" not in drawn
    assert drawn["places"][1].sum() == 16 * 32 and drawn["places"][1, 64:96, 32:48].all()
    assert drawn["places"][0, 40:90, 10:50].all() and not drawn["places"][0, :, 60:68].any()


def evidence_target(label: int = 0) -> dict[str, torch.Tensor]:
    """An image of 4 x 4 cells of 8 pixels: the two left columns are lung, the cell at the top left is a box."""
    places = torch.zeros(1, 2, 32, 32)
    places[0, 0, :, :16] = 1
    places[0, 1, :8, :8] = 1
    # The teacher finds the other class with three chances of four.
    taught = torch.tensor([[0.25, 0.75]]).log()
    return {"label": torch.tensor([label]), "places": places, "taught": taught}


def test_the_loss_is_the_sum_of_its_parts() -> None:
    loss = training.EvidenceLoss(weight=2.0, outside=6.0, inside=3.0, margin=6.0, label_smoothing=0.0)
    logits, target = torch.tensor([[0.0, 0.0]]), evidence_target()
    a = torch.full((1, 1, 4, 4), -4.0)
    a[0, 0, 0, 0] = 1.0
    outside, floor = (6 - 4) ** 2 / 36, 7 / 8 * (4 - 3) ** 2 / 9
    a[0, 0, 1, 0] = -4.7
    floor += (1.7**2 - 1) / 9 / 8
    ranked = 6 - (1 - (6 * -4 - 4.7) / 7)
    expected = math.log(2) + 2 * (outside + floor + ranked)
    assert float(loss((logits, a), target)) == pytest.approx(expected, rel=1e-5)
    # Without lungs and boxes label and teacher alone count.
    target["places"] = torch.zeros_like(target["places"])
    assert float(loss((logits, a), target)) == pytest.approx(math.log(2))
    own = torch.tensor([[0.9, 0.1]])
    taught = training.EvidenceLoss(label_smoothing=0.2, teaching=0.4)((own.log(), a), target)
    first = 0.6 * (0.8 + 0.2 / 2) + 0.4 * 0.25
    assert float(taught) == pytest.approx(-first * math.log(0.9) - (1 - first) * math.log(0.1), rel=1e-5)


def test_cells_that_are_mostly_lung_are_no_place_without_evidence() -> None:
    loss, a = training.EvidenceLoss(weight=1.0, outside=6.0, inside=3.0), torch.full((1, 1, 4, 4), -3.0)
    target, logits = evidence_target(), torch.zeros(1, 2)
    target["places"].zero_()
    target["places"][0, 0, :, :8] = 1
    for share in (6, 3):
        # The second column has that many of its 8 columns of pixels in the lungs; the floor is reached everywhere.
        target["places"][0, 0, :, 8:16] = 0
        target["places"][0, 0, :, 8 : 8 + share] = 1
        assert float(loss((logits, a), target)) == pytest.approx(math.log(2) + 9 / 36, rel=1e-5)
        cells = torch.full((1, 1, 4, 4), -6.0)
        cells[..., 0], cells[..., 1] = -3.0, 0.0
        found = float(loss((logits, cells), target)) - math.log(2)
        assert found == pytest.approx(0.0 if share > 4 else 4 / 12, rel=1e-5, abs=1e-7), share


def test_half_of_a_batch_is_denoised_at_its_own_level_a_quarter_noisy_and_a_quarter_clean() -> None:
    seen = []

    def denoise(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.append((noisy.clone(), sigma))
        return torch.zeros_like(noisy)

    class Remembers(nn.Module):
        def forward(self, noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            return denoise(noisy, sigma)

    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean(dim=(1, 2, 3))[:, None].expand(-1, 2)

    torch.manual_seed(1)
    prepare = training.NoisyBatch(
        Denoiser(Remembers(), name="remembers", sigmas=(0.2, 0.6)),
        teacher=Mean(),
        sigma=0.1,
        brightness=0.0,
        tilt=0.0,
    )
    clean = {"image": torch.full((8, 1, 64, 64), 0.5), "label": torch.zeros(8), "places": torch.zeros(8, 2, 64, 64)}
    noisy, target = prepare(clean, torch.device("cpu"), False)
    ((copies, levels),) = seen
    assert copies.shape == (4, 1, 64, 64) and (levels >= 0.2).all() and (levels <= 0.6).all()
    torch.testing.assert_close(copies.std(dim=(1, 2, 3)), levels, rtol=0.05, atol=0)
    spread = noisy[4:6].std(dim=(1, 2, 3))
    assert (noisy[:4] == 0).all() and (spread > 0).all() and (spread <= 0.105).all()
    assert (noisy[6:] == 0.5).all() and (clean["image"] == 0.5).all()
    # The teacher sees the images without noise.
    assert set(target) == {"label", "places", "taught"} and (target["taught"] == 0.5).all()
    # Exposures leave the texture as it is.
    exposed = training.NoisyBatch(
        Denoiser(Remembers(), name="remembers", sigmas=(0.0, 0.0)),
        teacher=Mean(),
        sigma=0.0,
        brightness=0.1,
        tilt=0.05,
    )(clean, torch.device("cpu"), False)[0][4:]
    assert exposed.mean(dim=(1, 2, 3)).std() > 0.02
    curvature = exposed[..., 2:, :] - 2 * exposed[..., 1:-1, :] + exposed[..., :-2, :]
    assert curvature.abs().max() < 1e-5
