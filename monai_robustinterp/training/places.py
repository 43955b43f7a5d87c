"""Where evidence is to be: lung fields and boxes of films, and what is lost where it is elsewhere."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.config.type_definitions import KeysCollection
from monai.transforms.transform import MapTransform
from torch import nn

from monai_robustinterp.networks.lung_fields import LungFields

_MOSTLY, _HALF, _HARDLY = 0.75, 0.5, 0.25

Box = tuple[float, float, float, float]


def read_boxes(table: str | Path, *, frame: float) -> dict[str, list[Box]]:
    """Boxes by image name without suffix: left, top, width and height in shares of the film's side.

    Args:
        table: CSV with the columns image, x, y, w and h in pixels.
        frame: pixels of the side that these are in.
    """
    boxes: dict[str, list[Box]] = {}
    for row in _rows(table):
        boxes.setdefault(Path(row["image"]).stem, []).append(_box(row, frame))
    return boxes


def read_named_boxes(tables: Mapping[str, str], *, frame: float) -> dict[str, dict[str, list[Box]]]:
    """The same by image name and by what is in the box.

    Args:
        tables: of each CSV file as :func:`read_boxes` takes it the column that says what is in the box; lines with
            nothing there say that nothing is, and are left out.
        frame: as there.
    """
    boxes: dict[str, dict[str, list[Box]]] = {}
    for table, column in tables.items():
        for row in _rows(table):
            if row[column]:
                named = boxes.setdefault(Path(row["image"]).stem, {})
                named.setdefault(row[column], []).append(_box(row, frame))
    return boxes


def _rows(table: str | Path) -> Iterator[dict[str, str]]:
    with Path(table).open(newline="") as file:
        yield from csv.DictReader(file)


def _box(row: Mapping[str, str], frame: float) -> Box:
    left, top, width, height = (float(row[name]) / frame for name in ("x", "y", "w", "h"))
    return left, top, width, height


class DrawPlacesd(MapTransform):
    """Adds ``places``, float [1 + maps, H, W] in {0, 1}: the lung fields of the film, and the boxes of each map.

    Args:
        keys: of the image, float [1, H, W] in [0, 1], square and whole; ``boxes``, a list a map, lie beside it.
        lung_fields: the segmenter; lung fields that look wrong are left out (all 0).
    """

    def __init__(self, keys: KeysCollection, *, lung_fields: LungFields) -> None:
        super().__init__(keys)
        self.lung_fields = lung_fields

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """See the class."""
        drawn = dict(data)
        film, of_maps = torch.as_tensor(drawn[self.keys[0]])[0], drawn.pop("boxes")
        lungs = self.lung_fields(film)
        places = torch.zeros(1 + len(of_maps), *film.shape)
        if lungs.failure is None:
            places[0] = torch.from_numpy(lungs.pixels.astype(np.float32))
        side = film.shape[-1]
        for place, boxes in zip(places[1:], of_maps):
            for box in boxes:
                left, top, width, height = (round(side * share) for share in box)
                place[top : top + height, left : left + width] = 1
        return drawn | {"places": places}


class PlacesLoss(nn.Module):
    """What is lost where the evidence of a map is not where it is to be.

    With a the evidence of a map before its softplus, the sum of three terms, each a mean over cells, then over the maps
    of all images that have such cells:

    - in cells mostly outside of the lungs and off the map's boxes, max(0, a + outside)^2 / outside^2: no evidence
      there;
    - in the lungs, max(0, -inside - a)^2 / inside^2: a floor above that, or a film without the finding has its top-k
      anywhere;
    - in images with boxes of the map, max(0, margin - (mean a in boxes - mean a in the rest of the lungs)): boxes rank
      first, while the labels alone say how much evidence there is.

    Args:
        outside: evidence before its softplus is to lie below its negative there.
        inside: the floor is its negative.
        margin: by which the evidence in boxes is to lie above that beside them.
    """

    def __init__(self, *, outside: float = 6.0, inside: float = 3.0, margin: float = 3.0) -> None:
        super().__init__()
        self.outside, self.inside, self.margin = outside, inside, margin

    def forward(self, before: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The sum.

        Args:
            before: evidence before its softplus [B, maps, h, w].
            places: of :class:`DrawPlacesd`, [B, 1 + maps, H, W].
        """
        cells = F.adaptive_avg_pool2d(places, (before.shape[-2], before.shape[-1]))
        a, boxes = before.flatten(0, 1), cells[:, 1:].flatten(0, 1)
        lungs = cells[:, :1].expand_as(before).flatten(0, 1)
        known = (lungs > _MOSTLY).flatten(1).any(dim=1).float()[:, None, None]
        boxed = (boxes > _MOSTLY).flatten(1).any(dim=1).float()[:, None, None]
        out = known * (lungs < _HALF) * (boxes == 0)
        found = boxed * (boxes > _MOSTLY)
        rest = boxed * (boxes < _HARDLY) * (lungs > _MOSTLY)
        ranked = F.relu(self.margin - _of_maps(a, found) + _of_maps(a, rest))
        return (
            _mean(F.relu(a + self.outside).square() / self.outside**2, out)
            + _mean(F.relu(-self.inside - a).square() / self.inside**2, known * (lungs > _MOSTLY))
            + (ranked * boxed[:, 0, 0]).sum() / boxed.sum().clamp(min=1)
        )


def _of_maps(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Mean over the cells of each map [N]; 0 if it has none."""
    return (values * where).sum(dim=(1, 2)) / where.sum(dim=(1, 2)).clamp(min=1)


def _mean(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """The same over the maps that have such cells; 0 if none has."""
    return _of_maps(values, where).sum() / where.flatten(1).any(dim=1).sum().clamp(min=1)
