"""Exact traversal of piecewise linear networks along a line, against hand computation, enumeration and autograd."""

from __future__ import annotations

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
    Parts,
    Patch,
    Piece,
    Property,
    Section,
    Slope,
    TopKOverlap,
    Traversal,
    make_perturbation,
    traverse,
    walk,
)
from monai_robustinterp.attention import line as line_module
from monai_robustinterp.attention import parts as parts_module
from monai_robustinterp.attention.crossed import Crossed
from monai_robustinterp.errors import InputRefused


class SmallCNN(nn.Module):
    """Residual, concatenation, max and average pooling, batch norm, leaky ReLU; modules and functions."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.second, self.third = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 5, 3, padding=1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, stride=2, padding=1)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(5, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.relu(self.norm(self.first(image))))
        x = x + functional.leaky_relu(self.second(x), 0.1)
        x = functional.max_pool2d(self.third(torch.cat([x, 0.5 * x - 0.1], 1)), 2)
        return self.head(self.drop(functional.relu(x).mean(dim=(2, 3)).flatten(1)))


def small_cnn() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(3)
    network = SmallCNN()
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    return network.eval(), torch.rand(1, 12, 12)


def mlp(*, width: int = 40, depth: int = 3) -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(5)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(16, width), nn.ReLU()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 2)).eval(), torch.rand(1, 4, 4)


def crossed(line: Line, end: float, parts: int = 1) -> list[tuple[float, float]]:
    """Ends of all pieces between 0 and an end, walked in several sections."""
    edges = np.linspace(0.0, end, parts + 1).tolist()
    return [(p.low, p.high) for near, far in pairwise(edges) for p in walk(line, Section(near, far))]


def line_restriction(network: nn.Sequential, image: torch.Tensor, end: float) -> list[float]:
    """Breakpoints in (0, end) by restricting layer after layer to the line: exact on each segment, in numpy."""
    points = [0.0, end]
    values = [(image.double() + theta).flatten().numpy() for theta in points]
    for layer in network:
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
            values = [weight @ value + bias for value in values]
        elif isinstance(layer, nn.ReLU):
            new_points, new_values = [points[0]], [values[0]]
            for (a, x), (b, y) in pairwise(zip(points, values)):
                shares = sorted({u / (u - v) for u, v in zip(x, y) if u * v < 0})
                new_points += [a + share * (b - a) for share in shares] + [b]
                new_values += [x + share * (y - x) for share in shares] + [y]
            points, values = new_points, [np.maximum(value, 0) for value in new_values]
    return points[1:-1]


def test_a_network_worked_out_by_hand() -> None:
    """relu(s - 1) - relu(s - 2), s = sum of two pixels + 2 theta: boundaries where s is 1 and 2; gradients 0, 1, 0."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.fill_(1), network[1].bias.copy_(torch.tensor([-1.0, -2.0]))
        network[3].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]])), network[3].bias.copy_(torch.tensor([-0.5, 0]))
    image = torch.tensor([[[0.25, 0.25]]])
    line = Line(network, image, torch.ones_like(image), labels=[0])
    pieces = list(walk(line, Section(0.0, 2.0)))
    assert [(p.low, p.high) for p in pieces] == [(0, 0.25), (0.25, 0.75), (0.75, 2)]
    assert [p.maps.flatten().tolist() for p in pieces] == [[0, 0], [1, 1], [0, 0]]
    # The first logit is -0.5, then rises by 2 theta: it passes the other one, 0, at theta = 0.5.
    clean = pieces[0].maps
    properties = [
        ClassificationRobustness.of(pieces[0].logits[0], "softmax"),
        AttentionRobustness(clean, torch.zeros_like(clean), 1.4),
    ]
    found = traverse(line, properties, low=-2.0, high=2.0)
    assert found.interval("classification") == (-2.0, pytest.approx(0.5, abs=1e-8))
    # ||(1, 1)|| = 1.414 > 1.4 in the second piece.
    assert (
        found.interval("attention") == (-2.0, pytest.approx(0.25, abs=1e-9)) and found.interval("attention")[1] < 0.25
    )
    above = found.reaches["attention"][1]
    assert (above.end, above.witness_value) == ("violation", pytest.approx(2**0.5)) and above.witness > 0.25
    assert found.reaches["attention"][0].end == "range"


def test_as_many_regions_as_line_restriction_finds() -> None:
    network, image = mlp()
    line = Line(network, image, torch.ones_like(image), labels=[0])
    expected = line_restriction(network, image, 3.0)
    assert len(expected) > 20
    for parts in (1, 4, 7):
        found = crossed(line, 3.0, parts)
        seams = set(np.linspace(0.0, 3.0, parts + 1).tolist())
        boundaries = [high for _, high in found if high not in seams]
        np.testing.assert_allclose(boundaries, expected, rtol=0, atol=1e-12)
        # No region is lost at a seam, wherever it is.
        assert all(later[0] == earlier[1] for earlier, later in pairwise(found))


def test_pieces_equal_the_network_and_autograd_everywhere() -> None:
    network, image = small_cnn()
    direction = torch.randn(1, 12, 12, generator=torch.Generator().manual_seed(1))
    line = Line(network, image, direction, labels=[0, 2])
    pieces = list(walk(line, Section(0.0, -1.0)))
    assert len(pieces) > 100
    double = SmallCNN().double().eval()
    double.load_state_dict(network.state_dict())
    for theta in -np.random.default_rng(0).random(200):
        (piece,) = [p for p in pieces if p.low < theta < p.high]
        inputs = (image + theta * direction.double())[None].requires_grad_()
        logits = double(inputs)[0]
        torch.testing.assert_close(piece.logits_at(theta), logits.detach(), rtol=1e-10, atol=1e-10)
        for label, saliency in zip((0, 2), piece.maps):
            (gradient,) = torch.autograd.grad(logits[label], inputs, retain_graph=True)
            torch.testing.assert_close(saliency, gradient[0], rtol=1e-9, atol=1e-10)


def test_boundaries_are_where_bisection_finds_a_change_of_the_map() -> None:
    network, image = small_cnn()
    line = Line(network, image, torch.ones_like(image), labels=[0])

    def same(one: float, other: float) -> bool:
        return bool(torch.allclose(line.gradient(one)[1], line.gradient(other)[1], rtol=1e-9, atol=1e-12))

    pieces = list(walk(line, Section(0.0, 0.3)))[:12]
    changes = 0
    for piece, following in pairwise(pieces):
        low, high = ((one.low + one.high) / 2 for one in (piece, following))
        if same(low, high):
            continue
        changes += 1
        start = low
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if same(start, middle) else (low, middle)
        assert high == pytest.approx(piece.high, abs=1e-12)
    assert changes > 5


@pytest.fixture(scope="module")
def verified():
    """Slope on the small network, with thresholds that end within the range."""
    network, image = small_cnn()
    perturbation = Slope()
    line = Line(network, image, perturbation.direction(image), labels=[1])
    logits, maps = line.gradient(0.0)
    share = 0.3 * float(maps.norm())
    properties = [
        ClassificationRobustness.of(logits, "softmax"),
        AttentionRobustness(maps, torch.zeros_like(maps), share),
        TopKOverlap.of(maps, cell_size=3, top_k=5, needed=4),
    ]
    return line, traverse(line, properties, low=-1.0, high=1.0)


def test_intervals_are_maximal_and_free_of_violations(verified) -> None:
    line, found = verified
    assert {reach.end for pair in found.reaches.values() for reach in pair} >= {"violation"}
    offenders = []
    for one in found.properties:
        low, high = found.interval(one.name)
        assert low < 0 < high
        for theta in np.linspace(low, high, 203)[1:-1]:
            logits, maps = line.gradient(theta)
            if one.violates(logits, maps, theta):
                offenders.append((one.name, theta))
        for end, reach in zip((low, high), found.reaches[one.name]):
            if reach.end == "violation":
                logits, maps = line.gradient(reach.witness)
                assert one.violates(logits, maps, reach.witness) and abs(reach.witness) > abs(end)
                just_outside = end + np.sign(end) * 1e-7
                logits, maps = line.gradient(just_outside)
                assert one.violates(logits, maps, just_outside) or one.name == "classification"
    assert not offenders, offenders


def test_regions_tile_the_range(verified) -> None:
    _, found = verified
    assert all(earlier.high == later.low for earlier, later in pairwise(found.regions))
    assert found.regions[0].low >= -1 and found.regions[-1].high <= 1


def test_the_map_of_a_patch_is_expected_to_fade() -> None:
    network, image = small_cnn()
    patch = Patch(top=2, left=3, side=4, value=0.5)
    assert torch.equal(patch(image, 1.0)[0, 2:6, 3:7], torch.full((4, 4), 0.5))
    assert torch.equal(patch(image, 1.0)[0, 6:], image[0, 6:])
    line = Line(network, image, patch.direction(image), labels=[0])
    maps = line.gradient(0.0)[1]
    expected = torch.stack([patch.expected_direction(one) for one in maps])
    one = AttentionRobustness(maps, expected, 0.5 * float(maps.norm()))
    found = traverse(line, [one], low=0.0, high=1.0)
    for theta in (0.2, 0.7):
        if theta < found.interval("attention")[1]:
            faded = maps.clone()
            faded[0, 0, 2:6, 3:7] *= 1 - theta
            value = float((line.gradient(theta)[1] - faded).norm())
            assert one.value(*line.gradient(theta), theta) == pytest.approx(value, rel=1e-12)
            assert value <= one.threshold
    assert found.interval("attention")[1] > 0.2


def test_two_switches_at_one_theta_are_looked_at_in_every_order() -> None:
    """The same pre-activation in two units: relu(s) - 3 relu(s + c) crosses twice at once for c = 0."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight.fill_(1), network[1].bias.fill_(-0.5)
        network[3].weight.copy_(torch.tensor([[1.0, -3.0], [0.0, 0.0]])), network[3].bias.copy_(torch.tensor([1.0, 0]))
    image = torch.zeros(1, 1, 1)
    line = Line(network, image, torch.ones_like(image), labels=[0])
    clean = line.gradient(0.0)[1]

    def reach(delta: float):
        return traverse(line, [AttentionRobustness(clean, torch.zeros_like(clean), delta)], low=0.0, high=1.0)

    # On both sides the gradient is 0 and -2. A region with one unit alone would have 1 or -3; none is there in truth.
    assert reach(2.5).reaches["attention"][1].end == "undecided" and reach(2.5).interval("attention") == (0.0, 0.0)
    assert reach(3.5).interval("attention") == (0.0, 1.0) and reach(3.5).hidden > 0


def test_a_hidden_pattern_must_pass_at_both_ends_of_its_piece() -> None:
    """Where the map is expected to fade, ai of a pattern at one end is larger at the other end."""
    clean, expected = torch.zeros(1, 1, 1, 1).double(), -torch.ones(1, 1, 1, 1).double()
    one = AttentionRobustness(clean, expected, 1.0)
    hidden = torch.full((1, 1, 1, 1, 1), 0.5).double()
    logits, none = torch.zeros(2, 2).double(), torch.empty(0).double()

    def certain(high: float) -> bool:
        piece = Piece(0.0, high, logits, clean, (hidden, none), (True, False), (0.0, 0.0))
        return Crossed.of(piece, [one], up=True).certain[0]

    # |0.5 + theta| is 0.5 at the end that it is near to, and passes 1 at theta = 0.5.
    assert certain(0.4) and not certain(0.6)


def test_a_cell_just_behind_the_k_th_is_lost_unless_it_ties() -> None:
    def cells(*values: float) -> torch.Tensor:
        return torch.tensor(values).double().reshape(1, 1, 1, -1)

    one = TopKOverlap.of(cells(4, 3, 2, 1), cell_size=1, top_k=2, needed=2)
    none = torch.zeros(2).double()
    said = {
        changed: (one.holds(none, cells(*changed), 0.0), one.violates(none, cells(*changed), 0.0))
        for changed in ((4, 3, 2, 1), (4, 2, 3, 1), (4, 3, 3, 1), (1, 2, 3, 4), (4, 3, 3 + 1e-12, 1))
    }
    assert said == {
        (4, 3, 2, 1): (True, False),
        (4, 2, 3, 1): (False, True),
        (4, 3, 3, 1): (False, False),
        (1, 2, 3, 4): (False, True),
        (4, 3, 3 + 1e-12, 1): (False, False),
    }


def mlp_line() -> tuple[Line, list[Property]]:
    """A line with several sections, and what must hold there."""
    network, image = mlp()
    line = Line(network, image, torch.ones_like(image), labels=[0])
    logits, maps = line.gradient(0.0)
    return line, [
        ClassificationRobustness.of(logits, "softmax"),
        AttentionRobustness(maps, torch.zeros_like(maps), 2 * float(maps.norm())),
    ]


def said(found: Traversal) -> tuple[object, ...]:
    return found.regions, found.reaches, found.hidden


def test_several_processes_find_what_one_finds() -> None:
    line, properties = mlp_line()
    one, two = (traverse(line, properties, low=-3.0, high=3.0, workers=workers) for workers in (1, 2))
    assert said(one) == said(two) and len(one.regions) > 40


def test_a_run_that_was_ended_goes_on(tmp_path, monkeypatch) -> None:
    line, properties = mlp_line()
    # The package has a function of that name.
    monkeypatch.setattr(sys.modules[walk.__module__], "_REGIONS", 4)
    whole = traverse(line, properties, low=-3.0, high=3.0)
    kept = Parts(tmp_path / "parts", "key")
    shares: list[float] = []

    def ended(share: float) -> None:
        shares.append(share)
        if len(shares) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        traverse(line, properties, low=-3.0, high=3.0, parts=kept, progress=ended)
    files = sorted((tmp_path / "parts").iterdir())
    assert len(files) == 5
    # A file that is not whole is no part.
    files[0].write_text(files[0].read_text()[:-9])
    calls: list[Section] = []
    cross = parts_module._cross
    monkeypatch.setattr(parts_module, "_cross", lambda *args: calls.append(args[2]) or cross(*args))
    went_on = traverse(line, properties, low=-3.0, high=3.0, parts=kept)
    sections = len(list((tmp_path / "parts").iterdir()))
    assert said(went_on) == said(whole) and sections > 8 and len(calls) == sections - 4
    # Parts of another question are not taken.
    traverse(line, properties, low=-3.0, high=3.0, parts=Parts(tmp_path / "parts", "other"))
    assert len(calls) == 2 * sections - 4
    kept.remove()
    assert not (tmp_path / "parts").exists()


def test_a_section_of_too_many_regions_is_halved(monkeypatch) -> None:
    network, image = mlp()
    line = Line(network, image, torch.ones_like(image), labels=[0])
    expected = line_restriction(network, image, 3.0)
    monkeypatch.setattr(line_module, "_MOST_PLACES", 6)
    found = [high for _, high in crossed(line, 3.0) if high * 1024 / 3 % 1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


class _Viewed(nn.Module):
    """As older code is written: the batch is read before the layers and used behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(1, 3, 3, padding="same"), nn.Linear(3 * 16, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        count = image.size(0)
        one, other = functional.relu(self.first(image)).chunk(2, dim=3)
        joined = torch.cat([other, 2 * one], dim=3)
        return self.head((joined.permute(0, 1, 3, 2) / 2 - 0.1).reshape(count, -1).unsqueeze(1).sum(dim=1))


def test_calls_that_reshape_and_move_axes() -> None:
    torch.manual_seed(4)
    network, image = _Viewed().eval(), torch.rand(1, 4, 4)
    line = Line(network, image, torch.ones_like(image), labels=[1])
    pieces = list(walk(line, Section(0.0, 2.0)))
    assert len(pieces) > 5
    for piece in pieces:
        theta = (piece.low + piece.high) / 2
        logits, maps = line.gradient(theta)
        torch.testing.assert_close(piece.logits_at(theta), logits)
        torch.testing.assert_close(piece.maps, maps)


def test_a_time_budget_keeps_what_is_proven(verified) -> None:
    line, whole = verified
    found = traverse(line, whole.properties, low=-1.0, high=1.0, time_budget_s=1e-9)
    assert {reach.end for pair in found.reaches.values() for reach in pair} == {"time"}
    assert all(abs(part) <= abs(end) for one in whole.properties for part, end in zip(found.interval(one.name), (1, 1)))


class _Sigmoid(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(image).flatten(1)


def test_what_is_refused_says_why() -> None:
    network, image = small_cnn()
    ones = torch.ones_like(image)
    line = Line(network, image, ones, labels=[0])
    maps = line.gradient(0.0)[1]
    cases = {
        "'sigmoid'": lambda: Line(_Sigmoid(), image, ones, labels=[0]),
        "does not change": lambda: Line(network, image, 0 * ones, labels=[0]),
        "'gamma' has no exact path": lambda: make_perturbation("gamma"),
        "must contain 0": lambda: traverse(line, [], low=0.1, high=0.2),
        "has top 8": lambda: Patch(top=8, side=8).direction(image),
        "has the settings": lambda: make_perturbation("brightness", pivot=0.5),
        "does not hold of the clean image": lambda: traverse(
            line, [AttentionRobustness(2 * maps, 0 * maps, 1e-6)], low=0.0, high=1.0
        ),
    }
    for words, refused in cases.items():
        with pytest.raises(InputRefused, match=words):
            refused()
    assert Brightness().settings["name"] == "brightness"
