"""DenseNet-121 checkpoints with torchvision's key names (CheXNet and its kin) for MONAI's DenseNet121."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import DenseNet121
from torch import nn

from monai_robustinterp.networks.grayscale import GrayscaleInput
from monai_robustinterp.networks.state_dict import read_state_dict

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_FIRST = "features.conv0.weight"
# Both spellings of torchvision: denselayer1.norm1.weight, and denselayer1.norm.1.weight before its version 0.3.
_DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|conv)\.?([12])\.")
_CLASSIFIER = re.compile(r"^classifier\.(0\.)?(?=(weight|bias)$)")
_ELSE = (
    "For another architecture or other names write the module yourself and load its weights with "
    "monai_robustinterp.bundle.load_weights (docs/how-to/your-own-model.md)."
)


def load_densenet121(
    checkpoint: str | Path | Mapping[str, Any],
    *,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
) -> GrayscaleInput:
    """Single-channel network of a DenseNet-121 checkpoint.

    It returns logits. The sigmoid that CheXNet has behind its classifier holds no weights and is left out:
    interpretations explain logits, and the probability follows from ``activation``.

    Args:
        checkpoint: state dict as for :func:`densenet121_state_dict`, or a file of one, read without unpickling code.
        mean: per channel, in the units of the [0, 1] input.
        std: per channel, > 0.

    Returns:
        Network in eval mode, [B, 1, H, W] to logits [B, classes]; Grad-CAM's layer is ``network.features.norm5``.

    Raises:
        ValueError: if the file holds more than tensors and plain values, or is no such checkpoint.
    """
    state = densenet121_state_dict(read_state_dict(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint)
    network = _monai_densenet121(len(state["class_layers.out.bias"]))
    network.load_state_dict(state)
    return GrayscaleInput(network, mean=mean, std=std).eval()


def densenet121_state_dict(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """State dict of MONAI's ``DenseNet121(spatial_dims=2, in_channels=3, out_channels=classes)``.

    Known are torchvision's names in both spellings (``norm1.weight``, ``norm.1.weight``), behind any prefix that all
    share (``module.``, ``densenet121.``, ``model.``, ...), with ``classifier`` or CheXNet's ``classifier.0``, whose
    shape gives the number of classes.

    Args:
        checkpoint: state dict, or a dict that has one under "state_dict".

    Raises:
        ValueError: if keys are missing or left over, or a shape differs.
    """
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, Mapping) else checkpoint
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            "the checkpoint is no state dict and has none under 'state_dict'; it must map names to tensors. Save it "
            "with torch.save(network.state_dict(), path)."
        )
    prefix = _prefix(state)
    found = {_monai_name(name.removeprefix(prefix)): tensor for name, tensor in state.items()}
    with torch.device("meta"):
        weight = found.get("class_layers.out.weight")
        classes = weight.shape[0] if weight is not None and weight.ndim == 2 else 1
        expected = _monai_densenet121(classes).state_dict()
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            # Checkpoints older than torch 0.4.1 have no such counters, and a network in eval mode reads none.
            found.setdefault(name, torch.zeros(tensor.shape, dtype=tensor.dtype))
    _check(found, expected)
    return found


def _prefix(state: Mapping[str, torch.Tensor]) -> str:
    prefixes = [name.removesuffix(_FIRST) for name in state if name == _FIRST or name.endswith("." + _FIRST)]
    if len(prefixes) != 1:
        raise ValueError(
            f"{len(prefixes)} keys of the checkpoint end in {_FIRST!r}, and its first keys are {list(state)[:3]}; a "
            f"DenseNet-121 with torchvision's names has exactly one such key. {_ELSE}"
        )
    return prefixes[0]


def _monai_name(name: str) -> str:
    return _CLASSIFIER.sub("class_layers.out.", _DENSE_LAYER.sub(r"\1.layers.\2\3.", name))


def _check(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    missing = _some(name for name in expected if name not in found)
    left_over = _some(name for name in found if name not in expected)
    misshapen = _some(
        f"{name} {tuple(found[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    )
    if missing or left_over or misshapen:
        raise ValueError(
            "the checkpoint is no DenseNet-121 of three input channels and one linear classifier; in MONAI's names, "
            f"missing: {missing or 'none'}; left over: {left_over or 'none'}; of another shape: {misshapen or 'none'}. "
            f"All keys must be there and no others. {_ELSE}"
        )


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _monai_densenet121(classes: int) -> nn.Module:
    network: nn.Module = DenseNet121(spatial_dims=2, in_channels=3, out_channels=classes)
    return network
