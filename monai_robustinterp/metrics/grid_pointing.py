"""Grid pointing: four films in one, of which one has the finding, and the certified cells should lie in that one.

It takes four films and a certificate, so it is no :class:`~monai_robustinterp.metrics.base.Metric`. Without a
certificate it is ``box_mass`` of a case with :func:`grid_film` as the image and :func:`quadrant` as its boxes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.metrics.base import Marks, NotApplicable


def grid_film(films: Sequence[torch.Tensor]) -> torch.Tensor:
    """Four films in a 2 x 2 grid, each at half its size, so that the grid is a film of the network's size.

    Bohle, Fritz and Schiele (CVPR 2021) and Anani et al. (ICML 2025) put films of full size together, of which each is
    classified with confidence 0.99 at least; whoever chooses the films sees to that.

    Args:
        films: four of one shape [1, H, W] with even H and W: upper left, upper right, lower left, lower right.

    Raises:
        InputRefused: if they are not.
    """
    shapes = {tuple(film.shape) for film in films}
    if len(films) != 4 or len(shapes) != 1 or any(pixels % 2 for pixels in films[0].shape[1:]):
        raise InputRefused(f"{len(films)} films of shapes {sorted(shapes)}: give four of one shape with even sides.")
    half = nn.functional.avg_pool2d(torch.stack(list(films)), 2)
    return torch.cat([torch.cat([half[0], half[1]], dim=2), torch.cat([half[2], half[3]], dim=2)], dim=1)


def quadrant(number: int, *, height: int, width: int) -> Marks:
    """Pixels, or cells, of one film of the grid, [height, width].

    Args:
        number: 0 to 3, in the order of :func:`grid_film`.
        height: of the grid, even.
        width: of the grid, even.
    """
    inside = np.zeros((2, height // 2, 2, width // 2), dtype=bool)
    inside[number // 2, :, number % 2] = True
    return inside.reshape(height, width)


def certified_grid_pointing(certified: Marks, number: int) -> float:
    """Share of the cells certified to be in the top-k that lies in the film with the finding (Anani et al., ICML 2025).

    Args:
        certified: cells that are certified to be in the top-k, [h, w] with even h and w.
        number: of the film with the finding, 0 to 3.

    Returns:
        In [0, 1]; 1/4 by chance.

    Raises:
        NotApplicable: if no cell is certified.
    """
    if not certified.any():
        raise NotApplicable("no cell is certified to be in the top-k.")
    inside = quadrant(number, height=certified.shape[0], width=certified.shape[1])
    return float(inside[certified].mean())
