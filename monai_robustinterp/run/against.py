"""Another image beside the one that was certified: whether the claim covers this very pair."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.certificate import Certificate
from monai_robustinterp.certificates.ledger import covers, radius_in_noise
from monai_robustinterp.certificates.units import readable, round_up, round_up_to
from monai_robustinterp.errors import refusal_reason
from monai_robustinterp.noise.shape import noise_of_spec


@dataclass(frozen=True, kw_only=True)
class OtherImage:
    """The other image of a pair.

    Attributes:
        values: the network's input that the same preprocessing makes of it, [1, h, w]; None if it cannot be read.
        reason: a sentence why it cannot; "" if it can.
    """

    values: npt.NDArray[np.float32] | None = None
    reason: str = ""

    def compared(self, certificate: Certificate, image: torch.Tensor) -> str:
        """Whether the claim on the map of ``image`` covers this one, in words.

        The claim holds for all changes within the radius at once, so the other image may be chosen afterwards.

        Args:
            certificate: of the image.
            image: the network's input [1, h, w].
        """
        if self.values is None:
            return f"not compared, since it cannot be read: {self.reason}"
        if self.values.shape != tuple(image.shape):
            return (
                f"not compared: it makes an input of shape {self.values.shape[1:]} for the network, and this image "
                f"one of {tuple(image.shape[1:])}. Give an image of the same size."
            )
        spec = certificate.spec
        noise = noise_of_spec(spec)
        norm = noise.norm(self.values.astype(np.float64) - image.detach().cpu().numpy())
        radius = radius_in_noise(certificate.l_max, spec.sigma)
        apart = (
            f"the inputs differ by {round_up_to(norm, 4)} noise standard deviations (rounded up), and L_max is "
            f"{readable(float(radius))} of them (rounded down)"
        )
        if not covers(radius, norm):
            return f"not covered: {apart}. Nothing is claimed about this pair."
        return (
            f"covered at the population level, with probability >= 1 - {round_up(certificate.eta)} over the noise, per "
            f"image: {apart}; at least {certificate.overlap} of the {spec.top_k} reported cells are in the expected "
            f"top-{spec.top_k} of the other image. For the second run (L_rerun) the other image must be chosen before "
            "its noise, not after a look at its votes."
        )


def read_other(path: str | Path, bundle: SaliencyBundle) -> OtherImage:
    """Reads and preprocesses the other image; one that cannot be read stops nothing."""
    try:
        with warnings.catch_warnings():
            # Of the reader, about a file that gets no result.
            warnings.simplefilter("ignore", UserWarning)
            image = bundle.preprocessing({"image": str(path)})["image"]
    except Exception as error:
        return OtherImage(reason=refusal_reason(error))
    return OtherImage(values=image.as_tensor().cpu().numpy())
