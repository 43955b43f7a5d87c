"""Vote maps back to the grid of their source image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.transforms import Invertd, InvertibleTransform

from monai_robustinterp.errors import InputRefused

_KEPT = ("certificate", "votes", "vote_counts")


class InvertSaliencyd(Invertd):
    """Inverts the preprocessing of the image on its vote map, cell by cell, and keeps the certificate.

    MONAI's ``Invertd`` gives the map the image's metadata and drops its own.

    Args:
        keys: keys of the vote maps, [2, H, W] each.
        transform: the preprocessing of the images.
        orig_keys: keys of the preprocessed images.
    """

    def __init__(self, keys: KeysCollection, transform: InvertibleTransform, orig_keys: KeysCollection) -> None:
        super().__init__(keys, transform=transform, orig_keys=orig_keys, nearest_interp=True, device="cpu")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Inverts the maps of ``keys``.

        Raises:
            InputRefused: if a map does not come back to the grid of its source.
        """
        own = {key: {name: data[key].meta[name] for name in _KEPT if name in data[key].meta} for key in self.keys}
        result: dict[Hashable, Any] = super().__call__(data)
        for key in self.keys:
            found, wanted = tuple(result[key].shape[1:]), tuple(int(n) for n in result[key].meta["spatial_shape"])
            if found != wanted:
                raise InputRefused(
                    f"the map came back as {found} for a source of {wanted}: the preprocessing is not invertible. Use "
                    "MONAI's invertible transforms for everything that changes the geometry."
                )
            result[key].meta.update(own[key])
        return result


InvertSaliencyD = InvertSaliencyDict = InvertSaliencyd
