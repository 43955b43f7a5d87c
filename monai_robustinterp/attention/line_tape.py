"""The tape of a line: values at thetas between which everything so far is affine."""

from __future__ import annotations

import numpy as np
import torch

from monai_robustinterp.attention.places import Places, lifted
from monai_robustinterp.attention.switches import Activation, Gaps, Pooling
from monai_robustinterp.attention.tape import Tape, TooManyRegions
from monai_robustinterp.attention.windows import Windows


class LineTape(Tape):
    """See :class:`~monai_robustinterp.attention.tape.Tape`.

    Values are kept at places of the line between which everything so far is affine: each layer adds the places where it
    bends. What an earlier call gave is affine between its own places, so it is known at later ones.

    Args:
        places: both ends of the piece of the line.
        limit: most places.

    Attributes:
        places: of all bends so far, and both ends.
    """

    places: Places

    def __init__(self, places: Places, limit: int) -> None:
        super().__init__()
        self.places, self._limit = places, limit

    @property
    def n_rows(self) -> int:  # type: ignore[override]
        """See :class:`~monai_robustinterp.attention.tape.Tape`."""
        return len(self.places)

    def bend(self, places: Places) -> None:
        """Adds places.

        Raises:
            TooManyRegions: if there are more than the limit then.
        """
        self.places = np.union1d(self.places, places)
        if len(self.places) > self._limit:
            raise TooManyRegions

    def lifted(self, value: torch.Tensor, places: Places) -> torch.Tensor:
        """See :meth:`~monai_robustinterp.attention.tape.Tape.lifted`."""
        return lifted(value, places, self.places)

    def activation(self, value: torch.Tensor, negative_slope: float) -> tuple[Activation[Gaps], torch.Tensor]:
        """See :meth:`~monai_robustinterp.attention.tape.Tape.activation`."""
        return Activation.of(value, self, negative_slope)

    def pooling(self, value: torch.Tensor, windows: Windows, *, rectified: bool) -> tuple[Pooling[Gaps], torch.Tensor]:
        """See :meth:`~monai_robustinterp.attention.tape.Tape.pooling`."""
        return Pooling.of(value, self, windows, rectified=rectified)
