"""The deletion and the insertion game: pixels go, or come, in the order of the map, and the score is followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.interpreters.base import ROWS
from monai_robustinterp.interpreters.checks import check_choice, check_whole
from monai_robustinterp.interpreters.reference_image import gaussian_blur, mean_gray, scaled
from monai_robustinterp.metrics.base import Array, Case, Metric, require_order

Substrate = Literal["zero", "mean", "blur"]
"""What stands where a pixel is gone: 0 of the network's input, the film's own mean, or the film blurred."""

TIES = "Pixels of equal map values, those of one cell among them, go in one step, which the area crosses in a line."
EXPLAINED = "The explained class is followed; the sources follow the predicted one, which is another one on some films."
GRAY = (
    "The gray is the mean of the film; in the sources it is that of the training set, their zero after normalization."
)

_BLUR_PX, _BLUR_OF_PX = 5, 224


@dataclass(frozen=True, kw_only=True)
class PerturbationGame(Metric):
    """The area under a class's probability while pixels are replaced, strongest first.

    Attributes:
        inserts: whether pixels come back to the substrate, instead of going to it.
        of_predicted: whether the predicted class is followed, instead of the explained one.
        substrate: what the film has where pixels are gone.
        step: pixels a step; None for as many as one row of the film has.
    """

    inserts: ClassVar[bool]
    of_predicted: ClassVar[bool] = False

    substrate: Substrate = "mean"
    step: int | None = None

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: if one is out of its range.
        """
        check_choice("substrate", self.substrate, get_args(Substrate))
        if self.step is not None:
            check_whole(1, step=self.step)

    def score(self, case: Case) -> float:
        """See :meth:`Metric.score`; the area is in [0, 1]."""
        shares, scores = self.curve(case)
        return float(np.trapezoid(scores, shares))

    def curve(self, case: Case) -> tuple[Array, Array]:
        """The class's probability by the share of the film's pixels that are replaced.

        Returns:
            Shares from 0 to 1, and probabilities at them, both of shape (steps + 1,).

        Raises:
            NotApplicable: if the map is constant.
        """
        require_order(case)
        values, film = case.pixel_map.ravel(), case.image[None]
        ends = step_ends(values, self.step or case.image.shape[2])
        gone = substrate_of(film, self.substrate)
        before, after = (gone, film) if self.inserts else (film, gone)
        followed = int(case.logits(film).argmax()) if self.of_predicted else case.target
        place = np.empty(values.size, dtype=np.int64)
        place[np.argsort(-values, kind="stable")] = np.arange(values.size)
        places = torch.as_tensor(place.reshape(film.shape), device=film.device)
        scores = [
            case.probabilities(torch.where(places < rows[:, None, None, None], after, before))[:, followed]
            for rows in torch.split(torch.as_tensor(ends, device=film.device), ROWS)
        ]
        return ends / values.size, np.concatenate(scores)


def step_ends(values: Array, step: int) -> npt.NDArray[np.int64]:
    """Numbers of pixels that are gone after each step; pixels of equal values go together.

    Args:
        values: of the map, one a pixel, shape (n,).
        step: pixels a step, at least.

    Returns:
        0, and of each multiple of the step up to n the first number from there on that parts no equal values.
    """
    ordered = -np.sort(-values)
    whole = np.append(np.flatnonzero(np.diff(ordered)) + 1, ordered.size)
    wanted = np.append(np.arange(step, ordered.size, step), ordered.size)
    return np.unique(np.append(0, whole[np.searchsorted(whole, wanted)])).astype(np.int64)


def substrate_of(images: torch.Tensor, substrate: Substrate) -> torch.Tensor:
    """What stands where pixels are gone, of images [B, 1, H, W].

    The blur is that of the sources, of standard deviation 5 and radius 5 on images of 224 pixels, scaled.
    """
    if substrate == "zero":
        return torch.zeros_like(images)
    if substrate == "mean":
        return mean_gray(images)
    sigma = scaled(_BLUR_PX, of_px=_BLUR_OF_PX, images=images)
    return gaussian_blur(images, sigma, radius=max(1, round(sigma)))
