"""The deletion game: a film loses its pixels in the order of the map, and the score should fall soon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters.reference_image import gaussian_blur, mean_gray, scaled
from monai_robustinterp.metrics.base import Array, Case, Direction, Metric, require_order

Substrate = Literal["zero", "mean", "blur"]
"""What stands where a pixel is gone: 0 of the network's input, the film's own mean, or the film blurred."""
_BLUR_PX, _BLUR_OF_PX = 5, 224


@dataclass(frozen=True, kw_only=True)
class _Game(Metric):
    """A score while pixels are replaced, strongest first.

    Attributes:
        substrate: what the film has where it is deleted, or before it is inserted.
        step: pixels a step; None for as many as one row of the film has, which the sources take.
    """

    of_arg_max: ClassVar[bool] = False
    inserts: ClassVar[bool] = False

    substrate: Substrate = "zero"
    step: int | None = None

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            InputRefused: if one is out of its range.
        """
        if self.substrate not in get_args(Substrate):
            raise InputRefused(f"substrate is {self.substrate!r}; it must be one of {list(get_args(Substrate))}.")
        if self.step is not None and (not isinstance(self.step, int) or self.step < 1):
            raise InputRefused(f"step is {self.step!r}; it must be a number of pixels, 1 at least, or None.")

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; the area is in [0, 1]."""
        shares, scores = self.curve(case)
        return float(np.trapezoid(scores, shares))

    def curve(self, case: Case) -> tuple[Array, Array]:
        """The score by the share of the film's pixels that have been replaced.

        Returns:
            Shares from 0 to 1, and probabilities of the followed class at them, both of shape (steps + 1,).

        Raises:
            NotApplicable: if the map is constant.
        """
        require_order(case)
        order = case.pixel_map.ravel()
        ends = step_ends(order, self.step or case.image.shape[2])
        kept, substrate = case.image[None], substrate_of(case.image[None], self.substrate)
        before, after = (substrate, kept) if self.inserts else (kept, substrate)
        rank = torch.as_tensor(_rank(order).reshape(case.image.shape)[None], device=case.image.device)
        films = (torch.where(rank < int(end), after, before) for end in ends)
        followed = int(case.probabilities(kept)[0].argmax()) if self.of_arg_max else case.target
        scores = np.array([case.probabilities(film)[0, followed] for film in films])
        return ends / order.size, scores


@dataclass(frozen=True, kw_only=True)
class Deletion(_Game):
    """Area under the explained class's score while the map's strongest pixels are deleted first."""

    name: ClassVar[str] = "deletion"
    direction: ClassVar[Direction] = "lower"
    protocol: ClassVar[str] = (
        "Area under the probability of the explained class against the share of pixels set to zero, those of the "
        "largest map values first (Petsiuk, Das and Saenko, RISE, BMVC 2018)."
    )
    deviations: ClassVar[tuple[str, ...]] = (
        "The explained class is followed, not the predicted one.",
        "Zero is that of the network's input in [0, 1], black; in the source it is the training set's mean gray.",
        "Pixels of equal map values, those of one cell among them, go in one step, which the area crosses in a line.",
    )


def step_ends(values: Array, step: int) -> npt.NDArray[np.int64]:
    """Numbers of pixels that are gone after each step; pixels of equal values go together.

    Args:
        values: of the map, one a pixel, shape (n,).
        step: pixels a step, at least.

    Returns:
        From 0 to n: of each multiple of the step the first number from there on that parts no equal values.
    """
    ordered = -np.sort(-values)
    whole = np.append(np.flatnonzero(np.diff(ordered)) + 1, ordered.size)
    wanted = np.append(np.arange(step, ordered.size, step), ordered.size)
    ends: npt.NDArray[np.int64] = np.unique(np.append(0, whole[np.searchsorted(whole, wanted)])).astype(np.int64)
    return ends


def substrate_of(images: torch.Tensor, substrate: Substrate) -> torch.Tensor:
    """What stands where pixels are gone, for images [B, 1, H, W].

    The blur has the width of the sources, a standard deviation of 5 of 224 pixels in a kernel of 11, scaled.
    """
    if substrate == "zero":
        return torch.zeros_like(images)
    if substrate == "mean":
        return mean_gray(images)
    sigma = scaled(_BLUR_PX, of_px=_BLUR_OF_PX, images=images)
    return gaussian_blur(images, sigma, radius=max(1, round(sigma)))


def _rank(values: Array) -> npt.NDArray[np.int64]:
    """Place of each value from the largest, 0 first; equal ones in any order, for they go together."""
    rank = np.empty(values.size, dtype=np.int64)
    rank[np.argsort(-values, kind="stable")] = np.arange(values.size)
    return rank
