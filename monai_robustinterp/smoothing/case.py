"""One image on its way through the smoothing: its input, what is found in it, and its counts."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from monai.data import MetaTensor

from monai_robustinterp.smoothing.tally import VoteTally
from monai_robustinterp.types import SmoothingSpec, VoteMap


@dataclasses.dataclass
class Case:
    """One image on its way.

    Attributes:
        spec: how its copies are taken; its number of copies is that of the last look.
        tally: its counts.
        logits: of the clean image, float [1, classes].
        input_warnings: of the image.
        votes: what the last look at the tally gave.
    """

    spec: SmoothingSpec
    tally: VoteTally
    logits: torch.Tensor
    input_warnings: tuple[str, ...]
    votes: VoteMap = dataclasses.field(init=False)

    def look(self, batch_size: int) -> None:
        """Waits for the device and takes down the counts.

        Args:
            batch_size: of the copies.

        Raises:
            NonFiniteMapError: if a map or a logit of a copy is NaN or infinite.
        """
        self.votes = self.tally.votes(self.logits, self.input_warnings)
        self.spec = dataclasses.replace(self.spec, n_samples=self.tally.n_samples, batch_size=batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What the network finds in a clean image.

    Attributes:
        targets: indices of the logits of what it finds.
        logits: float32 [classes].
        input_warnings: of the image.
    """

    targets: tuple[int, ...]
    logits: npt.NDArray[np.float32]
    input_warnings: tuple[str, ...]


def single_channel(image: torch.Tensor) -> torch.Tensor:
    """The plain float32 tensor [1, H, W] of an image.

    Raises:
        TypeError: if it is no tensor.
        ValueError: if it is not [1, H, W] and finite.
    """
    if not isinstance(image, torch.Tensor):
        raise TypeError(
            f"the image is a {type(image).__name__}; it must be a torch.Tensor [1, H, W]. Of a numpy array [H, W] pass "
            "torch.from_numpy(array)[None]."
        )
    if image.ndim != 3 or image.shape[0] != 1:
        raise ValueError(
            f"the image has shape {tuple(image.shape)}; it must be [1, H, W]: one channel, before replication and "
            "normalization, which belong into the network (networks.GrayscaleInput)."
        )
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    plain = plain.detach().to(torch.float32)
    if not bool(torch.isfinite(plain).all()):
        raise ValueError("the preprocessed image has NaN or infinite values: check the file and the preprocessing.")
    return plain
