"""Pictures on the source grid: the outlined film with a strip of text below, and vote shares in color over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from monai_robustinterp.visualize.color_map import paint
from monai_robustinterp.visualize.legend import render_strip
from monai_robustinterp.visualize.outlined import outlined

CONTOUR_COLOR = (0, 255, 255)
LUNGS_COLOR = (90, 255, 90)


def render_overlay(
    gray: npt.NDArray[np.floating],
    share: npt.NDArray[np.floating],
    top_k_mask: npt.NDArray[np.bool_],
    lines: Sequence[str],
    *,
    top_k: int,
    stable: bool = True,
    lungs: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Draws the outlined film with a strip below that explains the colors and holds the text.

    The picture keeps the film's rows and columns at the top left, and nothing but lines lies on it: elsewhere every
    pixel is the gray value itself.

    Args:
        gray: display values, shape [H, W], in [0, 1], 0 is black.
        share: vote share per pixel on the same grid, shape [H, W], in [0, 1]; 0 where the network saw nothing.
        top_k_mask: the reported top-k set on the same grid, bool, shape [H, W].
        lines: text for the strip, wrapped to the width.
        top_k: number of the reported cells.
        stable: whether decision and map are certified together; if not, the lines are gray and dashed.
        lungs: lung fields on the same grid, bool, shape [H, W], of which a thin contour is drawn; None for none.

    Returns:
        RGB picture, uint8, shape [H + strip, W, 3].

    Raises:
        ValueError: if the shapes differ, or a value is NaN or outside [0, 1].
    """
    check_layers(gray, share, top_k_mask)
    picture = outlined(gray, share, top_k_mask, top_k=top_k, stable=stable, lungs=lungs)
    return np.concatenate([picture, render_strip(gray.shape[1], lines, stable=stable, lungs=lungs is not None)])


def render_picture(
    gray: npt.NDArray[np.floating],
    share: npt.NDArray[np.floating],
    top_k_mask: npt.NDArray[np.bool_],
    *,
    lungs: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Paints vote shares over the X-ray and outlines the reported cells, for figures about the method.

    Outside the cells with votes every pixel is the gray value itself. The scale is absolute (0 to 1), so two pictures
    compare. The arguments are those of :func:`render_overlay`; uint8, shape [H, W, 3].
    """
    check_layers(gray, share, top_k_mask)
    picture = paint(gray, share)
    if lungs is not None:
        # Below the outline of the reported cells, which must stay whole.
        picture[outline(lungs, lungs_width(*gray.shape))] = LUNGS_COLOR
    picture[outline(top_k_mask, contour_width(*gray.shape))] = CONTOUR_COLOR
    return picture


def contour_width(height: int, width: int) -> int:
    """Width in pixels of the outline of the top-k set: 1 on small images, in proportion on large ones."""
    return max(1, round(min(height, width) / 400))


def lungs_width(height: int, width: int) -> int:
    """Width in pixels of the contour of the lungs: half of that of the outline, 1 at least."""
    return max(1, contour_width(height, width) // 2)


def outline(mask: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.bool_]:
    """The inner edge of a mask, ``width`` pixels wide, bool [H, W]; the image's border closes it."""
    core: npt.NDArray[np.bool_] = ndimage.minimum_filter(mask, size=2 * width + 1, mode="constant", cval=0)
    return mask & ~core


def check_layers(
    gray: npt.NDArray[np.floating], share: npt.NDArray[np.floating], top_k_mask: npt.NDArray[np.bool_]
) -> None:
    """Raises ValueError unless the layers have one shape and values that a picture can be drawn of."""
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
