"""Certified radii in stored pixel values, for the preprocessing of the shipped bundles (T17)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, Resized, ToDeviced
from monai.utils import ensure_tuple, get_equivalent_dtype

from monai_robustinterp.certificates.native import NativeScale, no_scale
from monai_robustinterp.certificates.resize import area_resize_matrix, display_round_off, resize_norms, resize_round_off
from monai_robustinterp.io import ChestXRayReader
from monai_robustinterp.transforms import CropCenterSquared, ScaleDisplayRanged

_CHAIN = (LoadImaged, ScaleDisplayRanged, CropCenterSquared, Resized)
_CHAIN_WITHOUT_CROP = (LoadImaged, ScaleDisplayRanged, Resized)


def native_scale(preprocessing: Compose, meta: Mapping[str, Any], input_shape: tuple[int, int]) -> NativeScale:
    """Scale of one image from its stored pixels to the network's input, if the whole path is known.

    Known is one chain, by exact class and arguments: ``LoadImaged`` with ``ChestXRayReader``, ``ScaleDisplayRanged``,
    ``CropCenterSquared`` or no crop, ``Resized`` by area means, with float32 casts and moves between devices anywhere.
    Everything else may depend on the content or round to steps, and has no bound.

    Args:
        preprocessing: what made the network's input out of the file.
        meta: meta dictionary of the preprocessed image, with the entries of ``ChestXRayReader``.
        input_shape: height and width of the network's input.

    Returns:
        The scale, or the reason why there is none; the reason holds no values of the image.
    """
    reason = unknown_step(preprocessing, input_shape) or _no_slope(meta)
    if reason:
        return no_scale(reason)
    height, width = (int(size) for size in meta["spatial_shape"])
    margin = float(meta["display_margin"])
    margins = margin, margin / math.sqrt(height * width)
    if any(type(step) is CropCenterSquared for step in preprocessing.transforms):
        if float(meta["pixel_aspect"]) != 1:
            return no_scale("the pixels are not square, and the norm of the crop that is square in mm is not known.")
        height = width = min(height, width)
    rows, columns = (area_resize_matrix(*sizes) for sizes in zip((height, width), input_shape))
    norms, rho = resize_norms(rows, columns), float(meta["display_rho"])
    round_off = resize_round_off((height, width), input_shape, display=display_round_off(rho))
    return NativeScale(float(meta["display_slope"]), norms.l2, norms.l_inf, rho, round_off, "", *margins)


def _no_slope(meta: Mapping[str, Any]) -> str:
    if 0 < float(meta.get("display_slope", math.nan)) < math.inf:
        return ""
    return str(meta.get("display_slope_reason") or "the metadata of the image state no slope.")


def unknown_step(preprocessing: Compose, input_shape: tuple[int, ...]) -> str:
    """Why the preprocessing is not the known chain of :func:`native_scale`; "" if it is."""
    if type(preprocessing) is not Compose:
        return f"the preprocessing is no Compose but {type(preprocessing).__name__}, which is not known."
    if preprocessing.lazy is not False:
        return "the preprocessing is lazy, and lazy resampling has another kernel."
    for step in preprocessing.transforms:
        kind = type(step)
        if kind not in _ARGUMENTS_ARE_KNOWN:
            return f"what the preprocessing step {kind.__name__} does to a change of the pixels is not known."
        same_key = step.keys == preprocessing.transforms[0].keys and len(step.keys) == 1
        sized = kind is not Resized or ensure_tuple(step.resizer.spatial_size) == tuple(input_shape)
        if not (same_key and sized and _ARGUMENTS_ARE_KNOWN[kind](step)):
            return f"what the arguments of the preprocessing step {kind.__name__} do to a change is not known."
    order = tuple(type(step) for step in preprocessing.transforms if type(step) in _CHAIN)
    if order not in (_CHAIN, _CHAIN_WITHOUT_CROP):
        return f"the preprocessing is {_names(order)}; known is {_names(_CHAIN)}, in this order."
    return ""


def _names(order: tuple[type, ...]) -> str:
    return ", ".join(kind.__name__ for kind in order) or "empty"


def _loads_with_our_reader(step: Any) -> bool:
    loader = step._loader  # MONAI has no public name for it
    return type(loader.readers[-1]) is ChestXRayReader and _is_float32(loader.dtype)  # the last one is tried first


def _is_area_mean(step: Any) -> bool:
    kernel = (step.mode[0], step.align_corners[0], step.anti_aliasing[0])
    return kernel == ("area", None, False) and _is_float32(step.dtype[0])


def _is_float32(dtype: Any) -> bool:
    return bool(get_equivalent_dtype(dtype, torch.Tensor) == torch.float32)


# Transforms of which all arguments are known to be harmless where the check passes.
_ARGUMENTS_ARE_KNOWN: dict[type, Callable[[Any], bool]] = {
    LoadImaged: _loads_with_our_reader,
    ScaleDisplayRanged: lambda step: step.transform.clip,  # the bound of the round-off needs values in [0, 1]
    CropCenterSquared: lambda step: True,
    Resized: _is_area_mean,
    EnsureChannelFirstd: lambda step: step.adjuster.input_channel_dim is None,
    EnsureTyped: lambda step: step.dtype[0] is None or _is_float32(step.dtype[0]),
    ToDeviced: lambda step: not step.converter.kwargs,
}
