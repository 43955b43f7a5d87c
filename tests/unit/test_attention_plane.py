"""Exact traversal of two parameters, against hand computation, the walk along lines, areas, samples and autograd."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from monai_robustinterp.attention import (
    AttentionRobustness,
    Brightness,
    ClassificationRobustness,
    Line,
    Patch,
    Property,
    Section,
    Slope,
    TopKOverlap,
    walk,
)
from monai_robustinterp.attention import plane as plane_module
from monai_robustinterp.attention.outline import area_around
from monai_robustinterp.attention.plane import Plane
from monai_robustinterp.attention.polygons import Point, Polygon, area, center, edges, nearest, rectangle, split
from monai_robustinterp.attention.survey import Survey, survey
from monai_robustinterp.errors import InputRefused

UNIT = rectangle((-1.0, -1.0), (1.0, 1.0), (-1, -2, -3, -4))
SQUARE = rectangle((0.0, 0.0), (1.0, 1.0), (-1, -2, -3, -4))


class SmallCNN(nn.Module):
    """Residual, concatenation, max pooling with an edge, batch norm, leaky ReLU; modules and functions."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.second, self.third = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.norm(self.first(image))))
        x = x + functional.leaky_relu(self.second(x), 0.1)
        x = functional.max_pool2d(self.third(torch.cat([x, 0.5 * x - 0.1], 1)), 2)
        return self.head(functional.relu(x).mean(dim=(2, 3)).flatten(1))


def small_cnn() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(3)
    network = SmallCNN()
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    return network.eval(), torch.rand(1, 8, 8)


def mlp(*, width: int = 24, depth: int = 3) -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(9)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(16, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 3)).eval(), torch.rand(1, 4, 4)


def plane_of(made: tuple[nn.Module, torch.Tensor], limits: Point = (1.0, 1.0), labels: tuple[int, ...] = (1,)) -> Plane:
    network, image = made
    return Plane(network, image, [one.direction(image) for one in (Brightness(), Slope())], labels, limits=limits)


def asked(plane: Plane, share: float, *, cell_size: int = 2, needed: int = 2) -> list[Property]:
    logits, maps = plane.gradient((0.0, 0.0))
    return [
        ClassificationRobustness.of(logits, "softmax"),
        AttentionRobustness(maps, torch.zeros(2, *maps.shape, dtype=torch.float64), share * float(maps.norm())),
        TopKOverlap.of(maps, cell_size=cell_size, top_k=2, needed=needed),
    ]


def contains(polygon: Polygon, point: Point) -> bool:
    x, y = point
    return all((c - a) * (y - b) - (d - b) * (x - a) > 0 for (a, b, _), (c, d, _) in edges(polygon))


def by_hand() -> tuple[nn.Module, torch.Tensor]:
    """relu(p) - 2 relu(p + q - 1/2) of two pixels p and q, which are the two parameters; the other logit is 5/4."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
        network[1].bias.copy_(torch.tensor([0.0, -0.5]))
        network[3].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 0.0]]))
        network[3].bias.copy_(torch.tensor([1.0, 0.25]))
    return network.eval(), torch.tensor([[[0.25, 0.0]]])


def test_polygons_worked_out_by_hand() -> None:
    """The lines p = 0 and p + q = 1/2 cut the box [-1, 1]^2 of changes of (1/4, 0) into four polygons.

    In p = 1/4 + x, q = y: x = -1/4 and x + y = 1/4. The first logit is 1 + relu(p) - 2 relu(p + q - 1/2); the gradient
    is (1, 0) around 0 and (-1, -2) beyond the slanted line, (-2, -2) beyond both and (0, 0) left of the upright one.
    """
    network, image = by_hand()
    one, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    plane = Plane(network, image, [one, other], [0], limits=(1.0, 1.0))
    cells = plane.cells(UNIT)
    found = {tuple(cell.maps.flatten().tolist()): area(cell.corners) for cell in cells}
    # The slanted line meets the upright one at y = 1/2 and the top at x = -3/4; right of it, heights from 1/2 to 7/4.
    expected = {(-2.0, -2.0): 0.5**3, (0.0, 0.0): 1.5 - 0.5**3, (-1.0, -2.0): 1.25 * (0.5 + 1.75) / 2}
    expected[(1.0, 0.0)] = 4 - sum(expected.values())
    assert found == pytest.approx(expected, abs=1e-12)
    logits, clean = plane.gradient((0.0, 0.0))
    properties = [
        ClassificationRobustness.of(logits, "softmax"),
        AttentionRobustness(clean, torch.zeros(2, *clean.shape, dtype=torch.float64), 1.1),
    ]
    found_by = survey(plane, properties)
    # The map moves by (-2, -2) beyond the slanted line, whose point nearest to 0 by the larger share is (1/8, 1/8).
    attention = found_by.scales["attention"]
    assert attention.scale == pytest.approx(1 / 8, abs=1e-9) and attention.scale < 1 / 8
    assert attention.end == "violation" and attention.witness == pytest.approx((1 / 8, 1 / 8), abs=1e-6)
    assert attention.witness_value == pytest.approx(math.sqrt(8))
    # Left of x = -1/4 the map moves by (-1, 0), less than 1.1: the area of the map is all below the slanted line.
    around = area_around(found_by.reached, 1)
    assert around.size == pytest.approx(expected[(0.0, 0.0)] + expected[(1.0, 0.0)])
    # 1 + p - 2 (p + q - 1/2) = 1/4 where p + 2 q = 7/4: x + 2 y = 3/2, nearest at (1/2, 1/2).
    classification = found_by.scales["classification"]
    assert classification.scale == pytest.approx(1 / 2, abs=1e-7) and classification.end == "violation"


def test_polygons_tile_the_box_and_agree_with_autograd() -> None:
    offenders = []
    for made, limit in ((mlp(), 1.5), (small_cnn(), 0.3)):
        plane = plane_of(made, (limit, limit), labels=(0, 2))
        found = survey(plane, [], everything=True)
        assert len(found.shards) > 200 and found.whole
        total = sum(area(one.corners) for one in found.shards)
        if not math.isclose(total, 4, abs_tol=1e-12) or not math.isclose(found.crossed, 1):
            offenders.append(("area", total, found.crossed))
        for section in found.sections[:2]:
            for cell in plane.cells(section):
                middle = np.array(center(cell.corners))
                for share in (0.0, 0.9):
                    x, y, _ = cell.corners[0]
                    point = tuple((middle + share * (np.array([x, y]) - middle)).tolist())
                    logits, maps = plane.gradient(point)
                    same = torch.allclose(cell.logits_at(point), logits, rtol=1e-9, atol=1e-10)
                    if not same or not torch.allclose(cell.maps, maps, rtol=1e-9, atol=1e-9):
                        offenders.append(("autograd", point))
    assert not offenders, offenders


def test_a_line_through_the_polygons_has_the_pieces_of_the_walk_along_it() -> None:
    """Along both axes and along rays: the same boundaries, and the same maps between them."""
    rng = np.random.default_rng(2)
    offenders = []
    for made, limit in ((mlp(), 2.0), (small_cnn(), 0.4)):
        network, image = made
        plane = plane_of(made, (limit, limit / 2))
        cells = [cell for section in survey(plane, [], everything=True).sections for cell in plane.cells(section)]
        for angle in [0.0, math.pi / 2, *(2 * math.pi * rng.random(3)).tolist()]:
            x, y = math.cos(angle), math.sin(angle)
            ray = x / max(abs(x), abs(y)), y / max(abs(x), abs(y))
            direction = limit * ray[0] * plane.directions[0] + limit / 2 * ray[1] * plane.directions[1]
            pieces = list(walk(Line(network, image, direction, [1]), Section(0.0, 1.0)))
            for piece in pieces:
                if piece.high - piece.low < 1e-9:
                    continue
                for share in (0.01, 0.99):
                    theta = piece.low + share * (piece.high - piece.low)
                    point = theta * ray[0], theta * ray[1] + 1e-13
                    maps = [cell.maps for cell in cells if contains(cell.corners, point)]
                    if not any(torch.allclose(one, piece.maps, rtol=1e-9, atol=1e-9) for one in maps):
                        offenders.append((angle, theta, len(maps)))
            assert len(pieces) > 3
    assert not offenders, offenders


@pytest.fixture(scope="module")
def verified() -> tuple[Plane, Survey]:
    plane = plane_of(mlp(), (2.0, 2.0))
    return plane, survey(plane, asked(plane, 0.6))


def test_the_proven_box_is_maximal_and_free_of_violations(verified) -> None:
    plane, found = verified
    rng = np.random.default_rng(0)
    offenders = []
    for one in found.properties:
        scale = found.scales[one.name]
        for x, y in scale.scale * (2 * rng.random((300, 2)) - 1):
            logits, maps = plane.gradient((x, y))
            if one.violates(logits, maps, plane.strengths((x, y))):
                offenders.append((one.name, x, y))
        if scale.end == "violation":
            outside = [share / limit for share, limit in zip(scale.witness, plane.limits)]
            logits, maps = plane.gradient(tuple(outside))
            assert one.violates(logits, maps, scale.witness)
            assert scale.scale < max(map(abs, outside)) < scale.scale + 1e-5
    assert {scale.end for scale in found.scales.values()} >= {"violation"}
    assert not offenders, offenders


def test_areas_are_those_of_the_full_traversal_and_of_samples(verified) -> None:
    """What lies beyond the outermost boundary is not crossed, and the area within it is the same."""
    plane, found = verified
    (attention,) = [one for one in found.properties if one.name == "attention"]
    alone, full = survey(plane, [attention]), survey(plane, [attention], everything=True)
    assert full.crossed == pytest.approx(1) and alone.crossed < 0.7
    assert alone.scales == full.scales
    around, whole = area_around(alone.reached, 0), area_around(full.reached, 0)
    assert around.size == pytest.approx(whole.size, abs=1e-12) and 0 < around.size < 4
    length = [sum(math.dist(*segment) for segment in one.boundary) for one in (around, whole)]
    assert length[0] == pytest.approx(length[1]) and length[0] > 0
    offenders = []
    for x, y in 2 * np.random.default_rng(1).random((400, 2)) - 1:
        shards = [shard for shard in full.shards if contains(shard.corners, (x, y))]
        violated = attention.violates(*plane.gradient((x, y)), plane.strengths((x, y)))
        if shards and shards[0].holds[0] == violated:
            offenders.append((x, y))
    assert not offenders, offenders


def test_the_outermost_boundary_can_come_first(monkeypatch) -> None:
    """It needs fewer polygons than its inside, is the same, and so is the box in the end."""
    monkeypatch.setattr(plane_module, "_MOST_POLYGONS", 24)
    plane = plane_of(mlp())
    decision = asked(plane, 1.0)[:1]
    nearest_first, boundary_first, alone = (
        survey(plane, decision, order=order, inside=inside)
        for order, inside in (("nearest", True), ("boundary", True), ("boundary", False))
    )
    assert boundary_first.scales == nearest_first.scales and boundary_first.whole and not alone.whole
    assert alone.boundary_after == boundary_first.boundary_after == len(alone.shards) < len(nearest_first.shards) / 2
    # Its inside was not crossed, so that little is proven there.
    assert alone.scales["classification"].end == "time"
    assert alone.scales["classification"].scale < nearest_first.scales["classification"].scale
    lengths = [
        sum(math.dist(*segment) for segment in area_around(one.reached, 0).boundary)
        for one in (nearest_first, boundary_first, alone)
    ]
    assert lengths == pytest.approx(3 * lengths[:1])


def test_the_map_of_a_patch_is_expected_to_fade() -> None:
    network, image = mlp()
    patch, brightness = Patch(top=1, left=0, side=2, value=1.0), Brightness()
    plane = Plane(network, image, [patch.direction(image), brightness.direction(image)], [0], limits=(1.0, 0.5))
    logits, maps = plane.gradient((0.0, 0.0))
    expected = torch.stack([torch.stack([p.expected_direction(one) for one in maps]) for p in (patch, brightness)])
    one = AttentionRobustness(maps, expected, 0.8 * float(maps.norm()))
    found = survey(plane, [one], low=(0.0, -1.0))
    scale = found.scales["attention"]
    assert 0.01 < scale.scale <= 1 and sum(area(shard.corners) for shard in found.shards) <= 2
    for x, y in np.random.default_rng(0).random((200, 2)):
        point = scale.scale * x, scale.scale * (2 * y - 1)
        logits, changed = plane.gradient(point)
        faded = maps.clone()
        faded[0, 0, 1:3, 0:2] *= 1 - point[0]
        assert one.value(logits, changed, plane.strengths(point)) == pytest.approx(float((changed - faded).norm()))
        assert float((changed - faded).norm()) <= one.threshold


def test_switches_on_one_line_are_looked_at_in_every_order() -> None:
    """The same pre-activation in two units: relu(s) - 3 relu(s) has the gradients 0 and -2, and in between 1 and -3."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, 0.5], [1.0, 0.5]])), network[1].bias.fill_(-0.5)
        network[3].weight.copy_(torch.tensor([[1.0, -3.0], [0.0, 0.0]])), network[3].bias.copy_(torch.tensor([1.0, 0]))
    image = torch.zeros(1, 1, 2)
    one, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    plane = Plane(network, image, [one, other], [0], limits=(1.0, 1.0))
    clean = plane.gradient((0.0, 0.0))[1]

    def scale(delta: float) -> tuple[float, str | None]:
        found = survey(plane, [AttentionRobustness(clean, torch.zeros(2, *clean.shape), delta)], low=(0.0, 0.0))
        return found.scales["attention"].scale, found.scales["attention"].end

    # s = x + y / 2 - 1/2 is 0 at (1/3, 1/3). The true maps differ by 2 (1, 1/2), the hidden ones by 3 (1, 1/2).
    slope = math.hypot(1, 0.5)
    assert scale(2.5 * slope) == (pytest.approx(1 / 3, abs=1e-8), "undecided")
    assert scale(2.5 * slope)[0] < 1 / 3
    assert scale(3.5 * slope) == (1.0, "range")
    assert scale(1.5 * slope) == (pytest.approx(1 / 3, abs=1e-8), "violation")


def test_more_patterns_than_can_be_looked_at_end_the_box_at_their_line() -> None:
    """Eight units with one pre-activation: nothing is said beyond their line, and all is said before it."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        network[1].weight.copy_(torch.tensor([[1.0, 0.5]]).expand(8, 2)), network[1].bias.fill_(-0.5)
        network[3].weight.copy_(torch.stack([0.01 * torch.ones(8), torch.zeros(8)])), network[3].bias.fill_(1.0)
        network[3].bias[1] = 0
    one, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
    plane = Plane(network, torch.zeros(1, 1, 2), [one, other], [0], limits=(1.0, 1.0))
    logits, clean = plane.gradient((0.0, 0.0))
    attention = AttentionRobustness(clean, torch.zeros(2, *clean.shape), 100.0)
    found = survey(plane, [ClassificationRobustness.of(logits, "softmax"), attention])
    scale = found.scales["attention"]
    assert scale.scale == pytest.approx(1 / 3, abs=1e-8) and scale.scale < 1 / 3 and scale.end == "undecided"
    # The decision does not depend on what the map is.
    assert found.scales["classification"].end == "range"


def test_a_polygon_that_touches_a_violation_at_a_corner_keeps_its_edges(verified) -> None:
    """What round-off leaves open at a corner is a zone around it, so that it does not end the box farther in."""
    _, found = verified
    violating = {
        one.name: min(nearest(s.corners)[0] for s in found.shards if not s.holds[index])
        for index, one in enumerate(found.properties)
        if not all(s.holds[index] for s in found.shards)
    }
    assert violating
    for name, gauge in violating.items():
        assert gauge - 1e-7 < found.scales[name].scale < gauge


def test_a_time_budget_keeps_what_is_proven(verified, monkeypatch) -> None:
    plane, whole = verified
    monkeypatch.setattr(sys.modules[survey.__module__].time, "perf_counter", iter(range(10**6)).__next__)
    found = survey(plane, whole.properties, time_budget_s=12)
    monkeypatch.undo()
    assert not found.whole and 0 < found.crossed < 1
    for name, scale in found.scales.items():
        assert scale.scale <= whole.scales[name].scale and scale.end in ("time", whole.scales[name].end)


def test_a_piece_of_too_many_polygons_is_cut(monkeypatch, verified) -> None:
    plane, whole = verified
    monkeypatch.setattr(plane_module, "_MOST_POLYGONS", 40)
    found = survey(plane, whole.properties)
    assert len(found.sections) > 3 * len(whole.sections)
    for name, scale in found.scales.items():
        assert scale.scale == pytest.approx(whole.scales[name].scale, rel=1e-7)
    for index in range(3):
        sizes = [area_around(one.reached, index).size for one in (found, whole)]
        assert sizes[0] == pytest.approx(sizes[1], abs=1e-9)


def test_cutting_polygons() -> None:
    below, above = split(SQUARE, (-0.25, 1.0, 0.0), 7)
    assert (area(below), area(above)) == (0.25, 0.75)
    assert [line for *_, line in below].count(7) == [line for *_, line in above].count(7) == 1
    assert {corner[:2] for corner in below} & {corner[:2] for corner in above} == {(0.25, 0.0), (0.25, 1.0)}
    # Through a corner, and along an edge.
    for form, sizes in {(0.0, 1.0, -1.0): (0.5, 0.5), (0.0, 1.0, 0.0): (0.0, 1.0), (1.0, 1.0, 1.0): (0.0, 1.0)}.items():
        assert tuple(area(part) if part else 0.0 for part in split(SQUARE, form, 7)) == sizes
    moved = [(x + 0.5, y - 0.25, line) for x, y, line in SQUARE]
    assert nearest(moved) == (0.5, (0.5, pytest.approx(0.0, abs=0.25))) and nearest(SQUARE)[0] == 0
    slanted = [(1.0, 0.0, 1), (0.0, 2.0, 2), (1.0, 2.0, 3)][::-1]
    assert nearest(slanted)[0] == pytest.approx(2 / 3)
    values = [max(abs(1 - t), abs(2 * t)) for t in np.linspace(0, 1, 9001)]
    assert nearest(slanted)[0] == pytest.approx(min(values), abs=1e-3)
    assert all(area(part) > 0 for part in split(moved, (0.0, 1.0, -3.0), 7) if part)
    assert [one for one, _ in pairwise(edges(SQUARE))]


def test_what_is_refused_says_why() -> None:
    network, image = mlp()
    ones = torch.ones_like(image)
    cases = {
        "does not change this image": [ones, 0 * ones],
        "in the same way": [ones, -0.5 * ones],
    }
    for words, directions in cases.items():
        with pytest.raises(InputRefused, match=words):
            Plane(network, image, directions, [0], limits=(1.0, 1.0))
    plane = plane_of((network, image))
    maps = plane.gradient((0.0, 0.0))[1]
    with pytest.raises(InputRefused, match="does not hold of the clean image"):
        survey(plane, [AttentionRobustness(2 * maps, torch.zeros(2, *maps.shape), 1e-6)])
