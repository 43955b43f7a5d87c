"""Certified saliency as a MONAI transform."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform

from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.io.write.result import result_meta


class CertifiedSaliency(Transform):
    """Certified vote map of one preprocessed image.

    Args:
        network: a classifier that returns logits.
        inferer: how to smooth, interpret and certify.
    """

    def __init__(self, network: torch.nn.Module, inferer: CertifiedSaliencyInferer | None = None) -> None:
        self.network = network
        self.inferer = inferer if inferer is not None else CertifiedSaliencyInferer()

    def __call__(self, img: torch.Tensor) -> MetaTensor:
        """Votes and certifies.

        Args:
            img: float [1, H, W] on the network's device.

        Returns:
            MetaTensor float32 [2, H, W] whose metadata hold the result
            (:func:`~monai_robustinterp.io.write.result.result_meta`): one element of the inferer's batch.
        """
        result = self.inferer.certify(img, self.network)
        maps = MetaTensor(torch.from_numpy(result.votes.channels(result.certificate.spec.cell_size)).to(img.device))
        if isinstance(img, MetaTensor):
            maps.copy_meta_from(img, copy_attr=True)
        maps.meta.update(result_meta(result))
        return maps


class CertifiedSaliencyd(MapTransform):
    """Dictionary version of :class:`CertifiedSaliency`; the image stays, the map gets a key of its own.

    Args:
        keys: keys of the preprocessed images.
        network: a classifier that returns logits.
        inferer: how to smooth, interpret and certify.
        postfix: the map of ``image`` is stored as ``image_<postfix>``.
        allow_missing_keys: skip keys that are not there.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: torch.nn.Module,
        inferer: CertifiedSaliencyInferer | None = None,
        postfix: str = "saliency",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.saliency = CertifiedSaliency(network, inferer)
        self.postfix = postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the maps."""
        result = dict(data)
        for key in self.key_iterator(result):
            result[f"{key}_{self.postfix}"] = self.saliency(result[key])
        return result


CertifiedSaliencyD = CertifiedSaliencyDict = CertifiedSaliencyd
