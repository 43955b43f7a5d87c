"""A network on the plane x + t1 d1 + t2 d2: one affine piece a polygon, and its constant gradient maps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from monai_robustinterp.attention.mesh import Mesh
from monai_robustinterp.attention.plane_switches import PlaneGaps, of_polygons
from monai_robustinterp.attention.polygons import Form, Point, Polygon, padded, rectangle, split
from monai_robustinterp.attention.rows import Rows
from monai_robustinterp.attention.switches import Layer
from monai_robustinterp.attention.tape import States, label_maps
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.context.network_state import plain_copy

_MOST_POLYGONS, _LEAST_POLYGONS, _MOST_VALUES = 256, 8, 6_400_000
"""In one pass, of a small network and of a large one: values of all of them are held together."""
_MOST_PATTERNS = 16
"""That are looked at, for one corner."""
_ZONE = 2
"""Round-offs within which a switch may be in its other state."""
_AGREE = 1e-9
"""Relative difference that logits carried through the calls may have from the network's own."""
_PARALLEL = 1e-6
"""Sine of the angle between two changes of an image that are the same one."""


@dataclass(frozen=True)
class Beside:
    """A pattern that round-off could hide in a part of a polygon.

    Attributes:
        pattern: number of the polygon of the same pass that has it; None if none does.
        maps: of the pattern, [labels, 1, H, W]; None if there are too many patterns to look at.
        zone: gives the part, which may have no corners.
    """

    pattern: int | None
    maps: torch.Tensor | None
    zone: Callable[[], Polygon]


@dataclass(frozen=True)
class Cell:
    """One polygon, in which no switch changes.

    Attributes:
        corners: in shares of both ranges.
        logits: at the shares (0, 0), (1, 0) and (0, 1), continued from the polygon: float64 [3, classes].
        maps: gradient of each label's logit with respect to the image, [labels, 1, H, W].
        beside: patterns that round-off could hide.
    """

    corners: Polygon
    logits: torch.Tensor
    maps: torch.Tensor
    beside: tuple[Beside, ...]

    def logits_at(self, point: Point) -> torch.Tensor:
        """The logits of this polygon at a point, [classes]."""
        one, x, y = self.logits
        found: torch.Tensor = one + point[0] * (x - one) + point[1] * (y - one)
        return found


class Plane:
    """A piecewise linear network, in float64, along two directions.

    Args:
        network: torch module with float32 weights, which is left as it is.
        image: float [1, H, W].
        directions: two of the same shape.
        labels: logits whose gradient maps are taken.
        limits: of both parameters: a share of 1 is this strength.

    Attributes:
        lines: numbers of lines that are still free, above 0.
        n_switches: places where the network may bend.

    Raises:
        InputRefused: if the network calls anything that is not piecewise linear, or the directions are no two.
    """

    def __init__(
        self,
        network: nn.Module,
        image: torch.Tensor,
        directions: Sequence[torch.Tensor],
        labels: Sequence[int],
        *,
        limits: tuple[float, float],
    ) -> None:
        with explaining(network):
            # The layout that is fast for float32 on a CPU is slow for float64.
            self.network = plain_copy(network).double().eval()
            self.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.image, self.labels, self.limits = image.detach().double(), tuple(labels), limits
        self.directions = [one.detach().double() for one in directions]
        _check_two(self.directions)
        self.lines, self.n_switches = itertools.count(1), 1
        point = math.ulp(0.0)
        mesh, logits = self._pass(rectangle((0.0, 0.0), (point, point), (0, 0, 0, 0)))
        self.n_switches = sum(layer.count for layer in _layers(mesh))
        plain, _ = self.gradient((0.0, 0.0))
        if not torch.allclose(logits.value[0], plain, rtol=_AGREE, atol=_AGREE * float(plain.abs().max())):
            raise InputRefused(
                "carried through one by one, the network's calls give other logits than the network: it computes "
                "something that exact verification does not see, and is not verified."
            )

    def strengths(self, point: Point) -> Point:
        """Both parameters of a point that is given in shares."""
        return point[0] * self.limits[0], point[1] * self.limits[1]

    def changed(self, point: Point) -> torch.Tensor:
        """The image at a point, [1, H, W]."""
        strengths = self.strengths(point)
        found: torch.Tensor = self.image + strengths[0] * self.directions[0] + strengths[1] * self.directions[1]
        return found

    def gradient(self, point: Point) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's logits [classes] and gradient maps [labels, 1, H, W] at a point, by autograd alone."""
        with torch.enable_grad():
            inputs = self.changed(point)[None].requires_grad_()
            logits = self.network(inputs)
            maps = [torch.autograd.grad(logits[0, j], inputs, retain_graph=True)[0][0] for j in self.labels]
        return logits[0].detach(), torch.stack(maps)

    def cells(self, polygon: Polygon) -> list[Cell]:
        """All polygons of a convex piece of the plane, which they tile.

        Raises:
            TooManyRegions: if they are more than a pass may hold.
        """
        mesh, logits = self._pass(polygon)
        layers, corners = _layers(mesh), padded(mesh.polygons)
        own = [mesh.owners(layer.gaps.places) for layer in layers]
        states = [layer.states(one) for layer, one in zip(layers, own)]
        open_ = _Open(layers, own, states, mesh.polygons, corners)
        device = logits.value.device
        maps = label_maps(mesh, logits.node, logits.shape[1], self.labels, states, device)
        forced = open_.forced_states()
        hidden = label_maps(mesh, logits.node, logits.shape[1], self.labels, forced, device) if len(forced[0]) else maps
        values = of_polygons(logits.here()).cpu()
        return [Cell(one, values[i], maps[i], open_.beside(i, maps, hidden)) for i, one in enumerate(mesh.polygons)]

    def _pass(self, polygon: Polygon) -> tuple[Mesh, Rows]:
        limit = max(_LEAST_POLYGONS, min(_MOST_POLYGONS, _MOST_VALUES // self.n_switches))
        mesh = Mesh(polygon, limit, self.lines)
        with torch.no_grad():
            inputs = torch.stack([self.changed(point) for point in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))])
            logits = self.network(Rows(inputs, mesh.places, mesh, 0))
        if not isinstance(logits, Rows) or logits.ndim != 2:
            raise InputRefused("the network must return logits [B, classes], one tensor that depends on the image.")
        return mesh, logits


def _check_two(directions: Sequence[torch.Tensor]) -> None:
    one, other = (direction.flatten() for direction in directions)
    sizes = float(one.norm()) * float(other.norm())
    if not sizes > 0:
        raise InputRefused("a perturbation does not change this image at all: choose another one.")
    if sizes - abs(float(one @ other)) <= _PARALLEL**2 / 2 * sizes:
        raise InputRefused("both perturbations change this image in the same way: verify one of them.")


def _layers(mesh: Mesh) -> list[Layer[PlaneGaps]]:
    return [layer for layer in mesh.switches if isinstance(layer, Layer)]


_Forced = tuple[int, int, int]
"""Number of a layer, column of a switch, and the state that it is made to be in."""
_Pattern = tuple[_Forced, ...]
_Options = dict[tuple[int, int], list[int]]
"""The states that each near switch may be in, by the number of its layer and its column."""


class _Open:
    """What round-off leaves open at the corners of all polygons of a pass."""

    def __init__(
        self,
        layers: Sequence[Layer[PlaneGaps]],
        own: Sequence[np.ndarray],
        states: Sequence[States],
        polygons: Sequence[Polygon],
        corners: np.ndarray,
    ) -> None:
        self._layers, self._own, self._states, self._polygons = layers, own, states, polygons
        near = [layer.gaps.near(one, corners) for layer, one in zip(layers, own)]
        known = {self._key(i, ()): i for i in range(len(polygons))}
        self._number: dict[bytes, int] = {}
        self._forced: list[tuple[int, _Pattern]] = []
        # Of each polygon: the patterns, each with the number of a polygon or of a forced pattern behind them.
        self._patterns: list[dict[_Pattern, tuple[int | None, int]]] = []
        # Of each polygon: single switches of corners with too many patterns, which all lie in their zones.
        self._unknown: list[set[_Pattern]] = []
        for i, polygon in enumerate(polygons):
            options = [self._options(i, [layer[i, corner] for layer in near]) for corner in range(len(polygon))]
            few = [some for some in options if math.prod(map(len, some.values())) <= _MOST_PATTERNS]
            many = [some for some in options if some not in few]
            patterns = {pattern for some in few for pattern in self._changes(i, some)}
            self._patterns.append({pattern: self._known(i, pattern, known) for pattern in sorted(patterns)})
            self._unknown.append({one for some in many for key in some for one in self._changes(i, {key: some[key]})})

    def forced_states(self) -> list[States]:
        """States of the patterns that no polygon of the pass has, of each layer [patterns, switches]."""
        rows = [i for i, _ in self._forced]
        forced = [layer[rows] for layer in self._states]
        for row, (_, pattern) in enumerate(self._forced):
            for layer, column, state in pattern:
                forced[layer][row, column] = state
        return forced or [np.zeros((0, 0), dtype=np.int64)]

    def beside(self, i: int, maps: torch.Tensor, hidden: torch.Tensor) -> tuple[Beside, ...]:
        """The patterns of a polygon with their maps, of those of the polygons and of the forced patterns."""
        looked_at = [
            Beside(polygon, maps[number] if polygon is not None else hidden[number], partial(self._zone, i, pattern))
            for pattern, (polygon, number) in self._patterns[i].items()
        ]
        unknown = [Beside(None, None, partial(self._zone, i, pattern)) for pattern in sorted(self._unknown[i])]
        return (*looked_at, *unknown)

    def _options(self, i: int, near: Sequence[np.ndarray]) -> _Options:
        """The states of the switches that are near at one corner."""
        found: _Options = {}
        for number, (layer, gaps) in enumerate(zip(self._layers, near)):
            if gaps.any():
                some = layer.options(self._states[number][i], gaps)
                found |= {(number, column): states for column, states in some.items()}
        return found

    def _changes(self, i: int, options: _Options) -> Iterator[_Pattern]:
        """All combinations of states but the polygon's own, each as what it changes."""
        for states in itertools.product(*options.values()):
            changed = [(*key, state) for key, state in zip(options, states) if self._states[key[0]][i, key[1]] != state]
            if changed:
                yield tuple(changed)

    def _known(self, i: int, pattern: _Pattern, known: dict[bytes, int]) -> tuple[int | None, int]:
        key = self._key(i, pattern)
        if key in known:
            return known[key], known[key]
        if key not in self._number:
            self._number[key] = len(self._forced)
            self._forced.append((i, pattern))
        return None, self._number[key]

    def _key(self, i: int, pattern: Sequence[_Forced]) -> bytes:
        parts = [layer[i].astype(np.int16) for layer in self._states]
        for layer, column, state in pattern:
            parts[layer][column] = state
        return b"".join(part.tobytes() for part in parts)

    def _zone(self, i: int, pattern: Sequence[_Forced]) -> Polygon:
        """The part of a polygon in which all changed switches are within the round-off."""
        zone = self._polygons[i]
        for form, round_off in self._gaps(i, pattern):
            for sign in (1.0, -1.0):
                a, b, c = (sign * value for value in form)
                zone = split(zone, (a - _ZONE * round_off, b, c), 0)[0] if zone else zone
        return zone

    def _gaps(self, i: int, pattern: Sequence[_Forced]) -> Iterator[tuple[Form, float]]:
        for number, column, state in pattern:
            layer = self._layers[number]
            a, b, c = layer.gaps.forms[self._own[number][i], :, layer.gap_of(column, state)].tolist()
            yield (a, b, c), layer.gaps.round_off
