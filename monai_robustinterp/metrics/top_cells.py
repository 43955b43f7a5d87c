"""The reported cells of a case, and its film without them."""

from __future__ import annotations

import torch

from monai_robustinterp.interpreters.robust_perturbation import half_gaussian_half_median
from monai_robustinterp.metrics.base import Array, Case, at_pixels, require_order
from monai_robustinterp.metrics.overlap import top_membership


def top_cells(case: Case, top_k: int | None = None) -> Array:
    """How much of each cell is in the map's top-k, [h, w] in [0, 1]; cells that tie at the k-th value have equal parts.

    Args:
        case: the map.
        top_k: k, 1 at least; None for the case's own.

    Raises:
        NotApplicable: if the map is constant.
    """
    require_order(case)
    return top_membership(case.saliency.reshape(1, -1), case.top_k if top_k is None else top_k).reshape(
        case.saliency.shape
    )


def film_without(case: Case, cells: Array) -> torch.Tensor:
    """The film m x + (1 - m) x_r, without some cells, [1, 1, H, W].

    x_r is half a Gaussian and half a median blur (Kim, Kim, Kim and Ro, IEEE TIP 31:301, 2022), scaled to the film.

    Args:
        case: the film.
        cells: 1 - m, how much of each cell is taken away, [h, w] in [0, 1].
    """
    film = case.image[None]
    gone = torch.as_tensor(at_pixels(cells, case.image), dtype=film.dtype, device=film.device)
    return film + gone * (half_gaussian_half_median(film) - film)
