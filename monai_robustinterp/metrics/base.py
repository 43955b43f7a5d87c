"""What every metric does: one map of one film in, one number out, or a sentence that says why there is none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters.base import ROWS

Array = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]
Direction = Literal["higher", "lower", "none"]


class NotApplicable(Exception):
    """A metric has no value for a case; the message is the reason, a sentence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """One map of one film, and what a metric may ask beside it.

    The film and the network are on one device; maps and marks are arrays.

    Attributes:
        network: gives logits [B, C] of images [B, 1, H, W], in eval mode.
        image: float [1, H, W], the network's input, in [0, 1].
        target: index of the explained class.
        multi_label: whether each class has a probability of its own (sigmoid), or one of all (softmax).
        saliency: the map [h, w], higher is more; h and w divide H and W (votes of cells), or are H and W.
        explain: makes the map [h, w] of another network or another image [1, H, W], with the same settings.
        top_k: number of reported cells, of h * w.
        boxes: pixels that radiologists marked by boxes, [H, W]; None where nothing was marked.
        polygons: pixels that radiologists outlined, [H, W]; None where nothing was outlined.
        lungs: pixels of the lung fields, [H, W]; None where they are not known.
        unmarked: why ``boxes``, ``polygons`` or ``lungs`` are None, by name, a sentence each.
        others: maps [h, w] of other films by the same method.
        absent: other films [1, H, W] that lack the finding, as the network gets them.
        copies: noisy copies behind a map of ``explain``, where its values are shares of their votes; None where not.
        anew: the film's own map as ``explain`` makes it, [h, w], where it is another one than ``saliency``: votes of
            fewer copies. Maps of other networks and images are compared with it. None: with ``saliency``.
        seed: seed of everything that a metric draws.
    """

    network: nn.Module
    image: torch.Tensor
    target: int
    multi_label: bool
    saliency: Array
    explain: Callable[[nn.Module, torch.Tensor], Array] = field(repr=False)
    top_k: int
    boxes: Marks | None = None
    polygons: Marks | None = None
    lungs: Marks | None = None
    unmarked: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[Array] = ()
    absent: Sequence[torch.Tensor] = ()
    copies: int | None = None
    anew: Array | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks shapes and ranges.

        Raises:
            InputRefused: if one of them breaks the rule of its attribute.
        """
        if self.image.ndim != 3 or self.image.shape[0] != 1:
            raise InputRefused(f"the image has shape {tuple(self.image.shape)}: a case has one film, [1, H, W].")
        size, grid = tuple(self.image.shape[1:]), self.saliency.shape
        if len(grid) != 2 or not all(grid) or any(pixels % cells for pixels, cells in zip(size, grid)):
            raise InputRefused(
                f"the map has shape {grid} for a film of {size} pixels: give [h, w] that divide its height and width."
            )
        if not all(np.isfinite(one).all() for one in (self.saliency, *self.others)):
            raise InputRefused("a map has a value that is not finite: a metric needs values that can be put in order.")
        if not 1 <= self.top_k <= self.saliency.size:
            raise InputRefused(f"top_k is {self.top_k} for a map of {self.saliency.size} cells: it must be 1 to that.")
        if any(one.shape != grid for one in self.others):
            raise InputRefused(f"maps of other films have other shapes than {grid}: take one grid for all films.")
        if any(one.shape != self.image.shape for one in self.absent):
            raise InputRefused(f"films without the finding have other shapes than {tuple(self.image.shape)}.")
        for name in ("boxes", "polygons", "lungs"):
            marks: Marks | None = getattr(self, name)
            if marks is not None and (marks.shape != size or marks.dtype != np.bool_):
                raise InputRefused(
                    f"{name} are {marks.dtype} of shape {marks.shape}: give booleans of the film's {size} pixels."
                )

    @property
    def pixel_map(self) -> Array:
        """The map at the film's pixels, [H, W]: each pixel has the value of its cell."""
        return at_pixels(self.saliency, self.image)

    @property
    def compared(self) -> Array:
        """The map [h, w] that those of :meth:`map_of` are compared with."""
        return self.saliency if self.anew is None else self.anew

    def map_of(self, *, network: nn.Module | None = None, image: torch.Tensor | None = None) -> Array:
        """The map of another network or another image, by the same method.

        Args:
            network: in place of the case's own.
            image: float [1, H, W], in place of the case's own.

        Returns:
            [h, w], of the case's grid.

        Raises:
            InputRefused: if ``explain`` returns another grid.
            NotApplicable: if a value of the map is not finite.
        """
        values = self.explain(network or self.network, self.image if image is None else image)
        if values.shape != self.saliency.shape:
            raise InputRefused(
                f"explain returned a map of shape {values.shape} for one of {self.saliency.shape}: give the same grid."
            )
        if not np.isfinite(values).all():
            raise NotApplicable("a map of the changed network or film has values that are not finite.")
        return values

    def probabilities(self, images: torch.Tensor) -> Array:
        """Probabilities of all classes, in [0, 1].

        Args:
            images: float [N, 1, H, W].

        Returns:
            [N, C].
        """
        logits = self.logits(images)
        values: Array = (logits.sigmoid() if self.multi_label else logits.softmax(dim=1)).numpy()
        return values

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of all classes, float64 [N, C] on the CPU, of images [N, 1, H, W].

        Raises:
            InputRefused: if the explained class is none of them.
            NotApplicable: if one is not finite.
        """
        with torch.no_grad():
            logits = torch.cat([self.network(rows).double().cpu() for rows in torch.split(images, ROWS)])
        if not 0 <= self.target < logits.shape[1]:
            raise InputRefused(f"target is {self.target} for a network of {logits.shape[1]} classes, numbered from 0.")
        if not logits.isfinite().all():
            raise NotApplicable("the network gives logits that are not finite for the film or a changed one.")
        return logits


@dataclass(frozen=True, kw_only=True)
class Metric(ABC):
    """One judge of maps, with its settings, which are the fields of its class.

    Attributes:
        name: its key in ``METRICS``.
        direction: which values are better, ``none`` where neither is.
        protocol: what is measured, in one sentence with its source.
        deviations: where the source does it otherwise, a sentence each.
    """

    name: ClassVar[str]
    direction: ClassVar[Direction]
    protocol: ClassVar[str]
    deviations: ClassVar[tuple[str, ...]] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, for the record."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @abstractmethod
    def score(self, case: Case) -> float:
        """Judges a map.

        Returns:
            A finite number, the same one for the same case and settings.

        Raises:
            NotApplicable: if there is no such number: the reason, in a sentence.
        """


def at_pixels(values: Array, image: torch.Tensor) -> Array:
    """A map [h, w] at the pixels of an image [1, H, W]: each pixel has the value of its cell."""
    height, width = image.shape[1] // values.shape[0], image.shape[2] // values.shape[1]
    return values.repeat(height, axis=0).repeat(width, axis=1)


def require_order(case: Case) -> None:
    """Raises NotApplicable for a constant map, which puts no cell before another one."""
    if (case.saliency == case.saliency.flat[0]).all():
        raise NotApplicable("the map is constant: it puts no cell before another one.")
