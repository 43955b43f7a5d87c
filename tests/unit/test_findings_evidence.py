"""Evidence of independent findings: a head that mixes nothing, and a training that knows which box is of which map."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.networks.nets import DenseNet
from torch import nn

from monai_robustinterp import InputRefused, interpreters, training
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.networks import FindingsEvidenceDenseNet, LungFields
from tests.support.cases import collected

SIZES = {"init_features": 8, "growth_rate": 4, "block_config": (1, 1, 1, 1)}


@pytest.fixture
def network() -> FindingsEvidenceDenseNet:
    """Three findings, whose maps are neither alike nor flat."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = FindingsEvidenceDenseNet(out_channels=3, **SIZES).eval()
        with torch.no_grad():
            made.evidence[1].weight.copy_(torch.randn(made.evidence[1].weight.shape))
    return made


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def test_a_map_moves_its_own_logit_and_no_other(network, images) -> None:
    with torch.no_grad():
        before = network(images)
        evidence = network.evidence(network.features(images))
        for moved in range(3):
            changed = evidence.clone()
            changed[:, moved, 2, 5] += 1.0
            logits = network.head(changed.mean(dim=(2, 3)))
            # One of 64 positions, and a gain of 30.
            expected = 30 / 64 * torch.eye(3)[moved].expand(2, 3)
            torch.testing.assert_close(logits - before, expected, rtol=1e-4, atol=1e-5)
    assert (network.head.weight.diagonal() > 0).all()


def test_a_training_leaves_the_head_as_it_is_but_for_its_zero_points(network, images) -> None:
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    weight, bias, last = (
        value.clone() for value in (network.head.weight, network.head.bias, network.evidence[1].weight)
    )
    nn.functional.binary_cross_entropy_with_logits(network(images), torch.ones(2, 3)).backward()
    optimizer.step()
    assert torch.equal(network.head.weight, weight)
    assert not torch.equal(network.head.bias, bias) and not torch.equal(network.evidence[1].weight, last)


def test_the_class_activation_map_of_a_finding_is_its_own_map(network, images) -> None:
    with explaining(network), torch.no_grad():
        evidence = network.evidence(network.features(images))
        forwards = []
        handle = network.features.register_forward_hook(lambda *_: forwards.append(1))
        found = interpreters.CAM(target_layer="evidence").attribute_each(network, images, [2, 0])
        forwards.clear()
        found = interpreters.CAM(target_layer="evidence").attribute_each(network, images, [2, 0])
        handle.remove()
        # Whatever the number of findings.
        assert len(forwards) == 1
        for place, finding in enumerate((2, 0)):
            own = nn.functional.interpolate(30 * evidence[:, [finding]], size=(64, 64), mode="bilinear")
            torch.testing.assert_close(found.maps[:, [place]], own)
            account = 30 * evidence[:, finding].mean(dim=(1, 2)) + network.head.bias[finding]
            torch.testing.assert_close(account, found.logits[:, finding])


def test_all_logits_begin_near_zero_and_as_the_ordinary_network_s(tmp_path) -> None:
    torch.manual_seed(0)
    ordinary = DenseNet(spatial_dims=2, in_channels=1, out_channels=3, **SIZES).eval()
    network = FindingsEvidenceDenseNet(out_channels=3, **SIZES).eval()
    with torch.no_grad():
        flat = torch.full((1, 3, 8, 8), -3.0)
        torch.testing.assert_close(
            network.head(network.pool(network.evidence[-1](flat)).flatten(1)), torch.zeros(1, 3), rtol=0, atol=1e-5
        )
        # Small weights: the softplus is nearly linear there.
        ordinary.class_layers.out.weight *= 0.05
        ordinary.class_layers.out.bias.copy_(torch.tensor([0.02, -0.02, 0.01]))
    training.save_weights(ordinary, tmp_path / "ordinary.pt")
    assert training.load_findings_evidence(network, tmp_path / "ordinary.pt") is network
    with torch.no_grad():
        features = network.features(torch.rand(4, 1, 128, 128))
        found = network.head(network.pool(network.evidence(features)).flatten(1))
        torch.testing.assert_close(found, ordinary.class_layers(features), rtol=0.02, atol=0.0005)


def test_weights_of_other_findings_or_features_are_refused(tmp_path) -> None:
    with collected() as case:
        for findings, more, sentence in (
            (2, {}, "no last layer .* of 3 findings"),
            (3, {"growth_rate": 8}, "features"),
        ):
            path = tmp_path / "other.pt"
            training.save_weights(DenseNet(2, 1, findings, **(SIZES | more)), path)
            with case(findings, more), pytest.raises(InputRefused, match=sentence):
                training.load_findings_evidence(FindingsEvidenceDenseNet(out_channels=3, **SIZES), path)


class Everywhere(nn.Module):
    """Says lung on two wide fields."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = torch.full_like(images, -20.0)
        side = images.shape[-1]
        for left in (side // 8, side * 9 // 16):
            logits[..., side // 4 : side * 3 // 4, left : left + side * 5 // 16] = 20.0
        return logits


def test_a_finding_gets_the_boxes_of_what_shows_it_where_it_is_labeled(tmp_path) -> None:
    (tmp_path / "boxes.csv").write_text(
        "image,source,label,x,y,w,h\na.png,RSNA,Lung Opacity,256,512,128,256\nb.png,NIH,Nodule,0,0,64,64\n"
    )
    (tmp_path / "outlines.csv").write_text("image,finding,x,y,w,h\na.png,Effusion,512,0,256,512\nc.png,,,,,\n")
    tables = {str(tmp_path / "boxes.csv"): "label", str(tmp_path / "outlines.csv"): "finding"}
    boxes = training.read_named_boxes(tables, frame=1024)
    assert boxes == {
        "a": {"Lung Opacity": [(0.25, 0.5, 0.125, 0.25)], "Effusion": [(0.5, 0.0, 0.25, 0.5)]},
        "b": {"Nodule": [(0.0, 0.0, 0.0625, 0.0625)]},
    }
    findings = ("Effusion", "Nodule", "Pneumonia")
    labels = np.array([[1, 0, 1], [0, 0, np.nan], [1, 1, 1]], dtype=np.float32)
    items = [{"image": f"/films/{name}.jpg"} for name in "abc"]
    marks = {"Effusion": ["Effusion"], "Nodule": ["Nodule"], "Pneumonia": ["Lung Opacity", "Consolidation"]}
    entries = training.finding_items(items, labels, findings, boxes=boxes, marks=marks)
    assert [[len(own) for own in entry["boxes"]] for entry in entries] == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_array_equal([entry["label"] for entry in entries], labels)
    draw = training.DrawPlacesd("image", lung_fields=LungFields(Everywhere(), name="everywhere"))
    places = draw(entries[0] | {"image": torch.rand(1, 128, 128)})["places"]
    assert places.shape == (4, 128, 128) and places[0].any() and not places[2].any()
    assert places[1].sum() == 32 * 64 and places[1, :64, 64:96].all()
    assert places[3].sum() == 16 * 32 and places[3, 64:96, 32:48].all()


def places_of_two_maps() -> torch.Tensor:
    """An image of 4 x 4 cells of 8 pixels: two left columns are lung; the second map has a box at the top left."""
    places = torch.zeros(1, 3, 32, 32)
    places[0, 0, :, :16] = 1
    places[0, 2, :8, :8] = 1
    return places


def test_places_are_lost_map_by_map() -> None:
    loss, a = training.PlacesLoss(outside=6.0, inside=3.0, margin=3.0), torch.full((1, 2, 4, 4), -6.0)
    a[..., :2] = -3.0
    places = places_of_two_maps()
    # Floor and outside are kept by both; the box of the second is no higher than the rest of its lungs.
    assert float(loss(a, places)) == pytest.approx(3.0)
    a[0, 1, 0, 0] = -1.0
    assert float(loss(a, places)) == pytest.approx(1.0)
    a[0, 0, 0, 0] = 5.0
    assert float(loss(a, places)) == pytest.approx(1.0)
    # Outside of the lungs: one cell of eight of the first of two maps.
    a[0, 0, 3, 3] = -2.0
    assert float(loss(a, places)) == pytest.approx(1.0 + (4 / 6) ** 2 / 8 / 2)
    # The floor, in one cell of eight of the second of two maps, which is one of seven beside the box.
    a[0, 0, 3, 3] = -6.0
    a[0, 1, 3, 1] = -4.4
    assert float(loss(a, places)) == pytest.approx((1.4 / 3) ** 2 / 8 / 2 + 3 - (-1 - (-3 * 6 - 4.4) / 7))


def test_evidence_in_a_box_outside_of_the_lungs_is_no_loss_of_its_own_map_alone() -> None:
    loss, a = training.PlacesLoss(), torch.full((1, 2, 4, 4), -6.0)
    a[..., :2] = -3.0
    places = places_of_two_maps()
    places[0, 2] = 0
    places[0, 2, 24:, 24:] = 1
    for own, expected in ((0, (6 / 6) ** 2 / 8 / 2 + 3 - (-6 + 3)), (1, 0.0)):
        cells = a.clone()
        cells[0, own, 3, 3] = 0.0
        assert float(loss(cells, places)) == pytest.approx(expected), own


def test_the_loss_of_findings_is_that_of_labels_teacher_and_places() -> None:
    places, a = places_of_two_maps(), torch.full((1, 2, 4, 4), -6.0)
    a[..., :2] = -3.0
    # The teacher finds the first with three chances of four; what is not known it does not teach.
    target = {"label": torch.tensor([[1.0, math.nan]]), "places": places, "taught": torch.tensor([[math.log(3), 2.0]])}
    weights, p = np.array([2.0, 1.0], dtype=np.float32), 1 / (1 + math.exp(-0.4))
    loss = training.FindingsEvidenceLoss(weights, weight=0.5, teaching=0.6)
    wanted = 0.4 * 1 + 0.6 * 0.75
    expected = -2 * wanted * math.log(p) - (1 - wanted) * math.log(1 - p) + 0.5 * 3.0
    assert float(loss((torch.tensor([[0.4, -9.0]]), a), target)) == pytest.approx(expected, rel=1e-6)
