"""The picture for the reader: vote shares in color over the X-ray, the reported cells outlined, a legend below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_robustinterp.visualize.color_map import paint
from monai_robustinterp.visualize.legend import CONTOUR_COLOR, LUNGS_COLOR, contour_width, lungs_width, render_strip


def render_overlay(
    gray: npt.NDArray[np.floating],
    share: npt.NDArray[np.floating],
    top_k_mask: npt.NDArray[np.bool_],
    lines: Sequence[str],
    *,
    lungs: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Render vote shares over the X-ray, with a strip below that explains the colors and holds the text.

    The picture keeps its own rows and columns at the top left, and nothing but color and outline lies on it. Outside
    the cells with votes every pixel is the gray value itself. The scale is absolute (0 to 1), so two pictures compare.

    Args:
        gray: display values, shape [H, W], in [0, 1], 0 is black.
        share: vote share per pixel on the same grid, shape [H, W], in [0, 1]; 0 where the network saw nothing.
        top_k_mask: the reported top-k set on the same grid, bool, shape [H, W].
        lines: text for the strip, wrapped to the width.
        lungs: lung fields on the same grid, bool, shape [H, W], of which a thin contour is drawn; None for none.

    Returns:
        RGB picture, uint8, shape [H + strip, W, 3].

    Raises:
        ValueError: if the shapes differ, or a value is NaN or outside [0, 1].
    """
    picture = render_picture(gray, share, top_k_mask, lungs=lungs)
    return np.concatenate([picture, render_strip(gray.shape[1], lines, lungs=lungs is not None)])


def render_picture(
    gray: npt.NDArray[np.floating],
    share: npt.NDArray[np.floating],
    top_k_mask: npt.NDArray[np.bool_],
    *,
    lungs: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """The picture of :func:`render_overlay` without its strip, uint8, shape [H, W, 3]."""
    _check(gray, share, top_k_mask)
    picture = paint(gray, share)
    if lungs is not None:
        # Below the outline of the reported cells, which must stay whole.
        picture[outline(lungs, lungs_width(*gray.shape))] = LUNGS_COLOR
    picture[outline(top_k_mask, contour_width(*gray.shape))] = CONTOUR_COLOR
    return picture


def outline(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    """The inner edge of a mask, ``width`` pixels wide, bool [H, W]; the image's border closes it."""
    core: npt.NDArray[np.bool_] = ndimage.minimum_filter(mask, size=2 * width + 1, mode="constant", cval=0)
    return mask & ~core


def _check(gray: npt.NDArray[np.floating], share: npt.NDArray[np.floating], top_k_mask: npt.NDArray[np.bool_]) -> None:
    if gray.ndim != 2 or share.shape != gray.shape or top_k_mask.shape != gray.shape:
        raise ValueError(
            f"the image has shape {gray.shape}, the vote shares {share.shape} and the top-k mask {top_k_mask.shape}; "
            "all three must have one shape [H, W]. Map the votes to the source grid first."
        )
    if top_k_mask.dtype != np.bool_:
        raise ValueError(f"the top-k mask has type {top_k_mask.dtype}; it must be bool.")
    for name, values in (("display", gray), ("vote share", share)):
        # The negated form catches NaN, which fails every comparison.
        if values.size == 0 or not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(f"a {name} value is NaN or outside [0, 1], or there is none; scale the values first.")
