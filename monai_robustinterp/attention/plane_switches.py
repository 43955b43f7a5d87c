"""Activations and max poolings on a piece of a plane: where they cut its polygons, and in which state they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from monai_robustinterp.attention.polygons import Form, Polygon, padded, split
from monai_robustinterp.attention.switches import ROUND_OFF, Activation, Pooling, first_winners, touched_windows
from monai_robustinterp.attention.windows import Windows

_CUT = 2.0**-10
"""Round-offs by which a gap must pass 0 on both sides of a polygon, for a line to cut it."""
NEAR = 4
"""Round-offs within which a gap is open at a corner (docs/theory/attention.md, T29)."""


class Cuts(Protocol):
    """What takes the polygons that a layer makes.

    Attributes:
        polygons: before it.
        places: number of the layers before it.
    """

    polygons: list[Polygon]
    places: int

    def line(self) -> int:
        """The number of a new line, which makes two polygons of one."""

    def cut(self, parts: Sequence[Sequence[Polygon]]) -> np.ndarray:
        """Puts parts in the place of each polygon; returns the polygon that each came of."""


@dataclass(frozen=True)
class PlaneGaps:
    """Of a layer, what is compared with 0: affine in each of its polygons.

    Attributes:
        places: of the layer's polygons.
        forms: a, b, c of a + b x + c y, float64 [polygons, 3, gaps].
        alive: whether the gap can leave 0 there at all, bool [polygons, gaps].
        round_off: bound of theirs.
    """

    places: int
    forms: np.ndarray
    alive: np.ndarray
    round_off: float

    def near(self, own: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """What round-off leaves open at the corners of finer polygons.

        Args:
            own: the layer's polygon that each is in, [polygons].
            corners: float64 [polygons, corners, 2].

        Returns:
            bool [polygons, corners, gaps].
        """
        there = values_at(self.forms[own], corners)
        near: np.ndarray = (np.abs(there) <= NEAR * self.round_off) & self.alive[own][:, None]
        return near


def values_at(forms: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Affine functions [polygons, 3, n] at corners [polygons, corners, 2]: float64 [polygons, corners, n]."""
    x, y = corners[..., 0, None], corners[..., 1, None]
    found: np.ndarray = forms[:, 0, None] + x * forms[:, 1, None] + y * forms[:, 2, None]
    return found


def of_polygons(value: torch.Tensor) -> torch.Tensor:
    """Values [3 * polygons, ...] as [polygons, 3, ...]."""
    return value.reshape(-1, 3, *value.shape[1:])


def forms_of(value: torch.Tensor) -> np.ndarray:
    """The affine functions of values [3 * polygons, ...] at (0, 0), (1, 0), (0, 1): float64 [polygons, 3, n]."""
    found = value.reshape(-1, 3, value[0].numel()).cpu().numpy()
    return np.stack([found[:, 0], found[:, 1] - found[:, 0], found[:, 2] - found[:, 0]], axis=1)


def activated(value: torch.Tensor, mesh: Cuts, negative_slope: float) -> tuple[Activation[PlaneGaps], torch.Tensor]:
    """A ReLU or leaky ReLU, and what it makes of values [rows, ...]; it cuts the polygons along its zeros."""
    forms = forms_of(value)
    there = values_at(forms, padded(mesh.polygons))
    round_off = ROUND_OFF * float(np.abs(there).max())
    low, high = there.min(axis=1), there.max(axis=1)
    crossed = (low < -_CUT * round_off) & (high > _CUT * round_off)
    least, most = low.min(axis=0), high.max(axis=0)
    # Exactly 0 everywhere is no round-off: dead units, whose inputs are all 0.
    touched = np.flatnonzero((least <= NEAR * round_off) & (most >= -NEAR * round_off) & ((least != 0) | (most != 0)))
    parts = [
        _cut_by(polygon, forms[number][:, columns], _CUT * round_off, mesh)
        for number, (polygon, columns) in enumerate(zip(mesh.polygons, crossed))
    ]
    own = mesh.cut(parts)
    there = values_at(forms[own], padded(mesh.polygons))
    # What does not cut a polygon is within the margin on its other side.
    on = there.max(axis=1) > -there.min(axis=1)
    alive = ((low != 0) | (high != 0))[own][:, touched]
    gaps = PlaneGaps(mesh.places, forms[own][:, :, touched], alive, round_off)
    device = value.device
    layer = Activation(
        torch.from_numpy(least > 0).to(device),
        torch.from_numpy(touched).to(device),
        negative_slope,
        on[:, touched].astype(np.int64),
        gaps,
    )
    factor = torch.from_numpy(np.where(on, 1.0, negative_slope)).to(device).reshape(-1, 1, *value.shape[1:])
    rows = of_polygons(value)[torch.from_numpy(own).to(device)]
    return layer, (rows * factor).flatten(0, 1)


def _cut_by(polygon: Polygon, forms: np.ndarray, margin: float, mesh: Cuts) -> list[Polygon]:
    """The parts of a polygon between lines; a line that no part reaches by the margin on both sides does not cut it.

    Args:
        polygon: to cut.
        forms: of the lines, [3, lines].
        margin: see above.
        mesh: that has room for the parts.
    """
    found, waiting = [], [(polygon, forms)]
    while waiting:
        part, left = waiting.pop()
        corners = np.array(part)[:, :2]
        there = left[0] + corners[:, :1] * left[1] + corners[:, 1:] * left[2]
        left = left[:, (there.min(axis=0) < -margin) & (there.max(axis=0) > margin)]
        if left.shape[1]:
            below, above = split(part, _form(left[:, 0]), mesh.line())
            waiting += [(above, left[:, 1:]), (below, left[:, 1:])]
        else:
            found.append(part)
    return found


def _form(values: np.ndarray) -> Form:
    a, b, c = values.tolist()
    return a, b, c


def pooled(
    value: torch.Tensor, mesh: Cuts, windows: Windows, *, rectified: bool
) -> tuple[Pooling[PlaneGaps], torch.Tensor]:
    """A max pooling, and what it makes of values [rows, C, H, W]; it cuts the polygons where another entry wins."""
    forms, inside = _entries(value, mesh.polygons, windows)
    corners = padded(mesh.polygons)
    count, _, number, entries = forms.shape
    there = values_at(forms.reshape(count, 3, -1), corners).reshape(count, -1, number, entries)
    round_off = ROUND_OFF * float(np.ptp(there[..., inside]))
    behind = (there.max(axis=3, keepdims=True) - there).min(axis=(0, 1))
    may = (behind <= NEAR * round_off) & inside
    if rectified:
        may &= there.max(axis=(0, 1)) > 0
    shape = (entries, value.shape[1], *(windows.count(axis) for axis in (0, 1)))
    possible = torch.from_numpy(np.ascontiguousarray(may.T)).reshape(shape)
    touched = touched_windows(possible).numpy()
    parts = [_won(polygon, forms[i][:, touched], _CUT * round_off, mesh) for i, polygon in enumerate(mesh.polygons)]
    own = mesh.cut([[polygon for polygon, _ in some] for some in parts])
    states = np.array([state for some in parts for _, state in some], dtype=np.int64).reshape(len(own), len(touched))
    # A window of zeros without a gradient has a value all the same.
    alone = np.where(may.any(axis=1), first_winners(possible).numpy(), np.where(inside, behind, np.inf).argmin(axis=1))
    winners = np.broadcast_to(alone, (len(own), number)).copy()
    winners[:, touched] = states
    gaps = _leads(forms[own][:, :, touched], states, mesh, inside[touched], round_off, rectified)
    layer = Pooling(windows, possible.to(value.device), states, gaps)
    best = np.take_along_axis(forms[own], winners[:, None, :, None], axis=3)[..., 0]
    rows = np.stack([best[:, 0], best[:, 0] + best[:, 1], best[:, 0] + best[:, 2]], axis=1)
    return layer, torch.from_numpy(rows).to(value.device).reshape(-1, *shape[1:])


def _entries(value: torch.Tensor, polygons: Sequence[Polygon], windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Forms of entries [polygons, 3, windows, entries], and which of them lie in the image, bool [windows, entries].

    Those beyond the edge are constant, and below all others.
    """
    entries = torch.stack(list(windows.entries(value)), dim=-1).flatten(1, 3)
    inside = torch.isfinite(entries[0]).cpu().numpy()
    finite = torch.where(torch.isfinite(entries), entries, torch.zeros_like(entries))
    forms = forms_of(finite).reshape(-1, 3, *inside.shape)
    lowest = float(values_at(forms.reshape(len(forms), 3, -1), padded(polygons)).min())
    forms[:, 0][:, ~inside] = lowest - 1 - abs(lowest)
    return forms, inside


def _won(polygon: Polygon, forms: np.ndarray, margin: float, mesh: Cuts) -> list[tuple[Polygon, np.ndarray]]:
    """The parts of a polygon in each of which the same entries win, and the entries.

    Args:
        polygon: to cut.
        forms: of the windows' entries, [3, windows, entries].
        margin: by which a winner may lie behind.
        mesh: that has room for the parts.
    """
    found, waiting = [], [polygon]
    while waiting:
        part = waiting.pop()
        corners = np.array(part)[:, :2]
        there = forms[0] + corners[:, 0, None, None] * forms[1] + corners[:, 1, None, None] * forms[2]
        lag = (there.max(axis=2, keepdims=True) - there).max(axis=0)
        form = None
        for window in np.flatnonzero(lag.min(axis=1, initial=np.inf) > 2 * margin).tolist():
            form = _overtaking(there[:, window], forms[:, window], margin)
            if form is not None:
                break
        if form is None:
            found.append((part, lag.argmin(axis=1)))
        else:
            # The last one first: the order of the parts is that of the cuts.
            waiting += reversed(split(part, form, mesh.line()))
    return found


def _overtaking(there: np.ndarray, forms: np.ndarray, margin: float) -> Form | None:
    """The lead of one entry over another one, both of which lead at some corner by more than the margin.

    Args:
        there: a window's entries at corners, [corners, entries].
        forms: of them, [3, entries].
        margin: see above.
    """
    leaders = np.unique(there.argmax(axis=1)).tolist()
    pairs = [(one, other) for i, one in enumerate(leaders) for other in leaders[i + 1 :]]
    leads = {pair: there[:, pair[0]] - there[:, pair[1]] for pair in pairs}
    sure = {pair: min(float(lead.max()), -float(lead.min())) for pair, lead in leads.items()}
    best = max(pairs, key=lambda pair: sure[pair], default=None)
    if best is None or sure[best] <= margin:
        return None
    return _form(forms[:, best[0]] - forms[:, best[1]])


def _leads(
    forms: np.ndarray, states: np.ndarray, mesh: Cuts, inside: np.ndarray, round_off: float, rectified: bool
) -> PlaneGaps:
    """Gaps of the winners over all entries of their windows.

    Args:
        forms: of the touched windows' entries in the new polygons, [polygons, 3, windows, entries].
        states: their winners, [polygons, windows].
        mesh: with the new polygons.
        inside: entries that lie in the image, [windows, entries].
        round_off: bound of that of the gaps.
        rectified: whether an exact 0 has no gradient.
    """
    count = len(forms)
    lead = np.take_along_axis(forms, states[:, None, :, None], axis=3) - forms
    flat = lead.reshape(count, 3, -1)
    # The winner itself, and ties of the same values in the whole polygon, have leads of 0.
    alive = (flat != 0).any(axis=1) & inside.reshape(-1)
    if rectified:
        there = values_at(forms.reshape(count, 3, -1), padded(mesh.polygons))
        alive &= there.max(axis=1) > 0
    return PlaneGaps(mesh.places, flat, alive, round_off)
