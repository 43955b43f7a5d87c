"""What class activation maps need of a network: that its logits are one linear layer of pooled channels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import nn

from monai_robustinterp.interpreters.context.hooks import find_layer, replaced_output
from monai_robustinterp.interpreters.layer_output import layer_output
from monai_robustinterp.interpreters.spatial import chosen_layer

TOLERANCE = 1e-3
"""How far the head's logits may lie from the network's, in shares of the sum of the absolute terms of each logit."""

_KNOWN: WeakKeyDictionary[nn.Module, dict[str, tuple[str, bool, bool]]] = WeakKeyDictionary()
"""Of a network, by layer: the head's name, whether a ReLU is before it, and whether its pooling takes the largest."""


@dataclass(frozen=True)
class PooledHead:
    """logits = weight pool(act(f)) + bias, with f the layer's output [B, K, h, w].

    Attributes:
        name: of the linear layer.
        weight: float [classes, K].
        bias: float [classes].
        relu: whether act is a ReLU, as between features.norm5 of a DenseNet and its pooling; else the identity.
        maximum: whether the pooling takes the largest value, else the mean.
    """

    name: str
    weight: torch.Tensor
    bias: torch.Tensor
    relu: bool
    maximum: bool

    def features(self, output: torch.Tensor) -> torch.Tensor:
        """act(f), float [B, K, h, w]."""
        return output.relu() if self.relu else output

    def misfit(self, output: torch.Tensor, logits: torch.Tensor) -> float:
        """Largest distance of a logit from the head's, as a share of its absolute terms.

        Rows whose logits are not finite count for nothing: they are refused later, for what they are.
        """
        rows = logits.isfinite().all(dim=1)
        features = self.features(output[rows])
        pooled = features.amax(dim=(2, 3)) if self.maximum else features.mean(dim=(2, 3))
        terms = pooled.abs() @ self.weight.abs().T + self.bias.abs()
        distance = (pooled @ self.weight.T + self.bias - logits[rows]).abs()
        shares = distance / terms.clamp_min(torch.finfo(terms.dtype).tiny)
        return max(shares.nan_to_num(nan=torch.inf).flatten().tolist(), default=0.0)


def pooled_features(
    network: nn.Module, inputs: torch.Tensor, target: int, *, target_layer: str | None
) -> tuple[torch.Tensor, torch.Tensor, PooledHead]:
    """The channels that the network pools, its logits, and the head that makes these of those.

    Which head it is, is read off the network's answers to two fixed outputs of the layer (a pass of two images more, in
    the network's first call), not off the images: max pooling hides in many of them whether a ReLU is before it, and a
    copy's map must not depend on the others of its batch. That the head makes the logits is checked on every image.

    Args:
        network: in the state of :func:`~monai_robustinterp.interpreters.context.network_state.explaining`.
        inputs: float [B, C, H, W].
        target: index of the explained logit.
        target_layer: dotted name of a layer with output [B, K, h, w], before the pooling; None finds
            :func:`~monai_robustinterp.interpreters.spatial.last_spatial_layer`.

    Returns:
        act(f) [B, K, h, w], the logits [B, classes], and the head.

    Raises:
        ValueError: as :func:`~monai_robustinterp.interpreters.layer_output.layer_output` does, and if the logits are
            not those of global pooling and one linear layer.
    """
    layer = chosen_layer(network, inputs, target, target_layer=target_layer)
    output, logits = layer_output(network, inputs, target, target_layer=layer)
    head = _known(network, layer, channels=output.shape[1], classes=logits.shape[1])
    if head is not None and head.misfit(output, logits) <= TOLERANCE:
        return head.features(output), logits, head
    heads = list(_candidates(network, channels=output.shape[1], classes=logits.shape[1]))
    found = f"no linear layer of {output.shape[1]} inputs and {logits.shape[1]} outputs"
    if heads:
        probe = _probe(output)
        with replaced_output(find_layer(network, layer), probe):
            answer = network(inputs[:1].repeat(len(probe), 1, 1, 1))
        head = min(heads, key=lambda candidate: candidate.misfit(probe, answer))
        misfit = max(head.misfit(probe, answer), head.misfit(output, logits))
        if misfit <= TOLERANCE:
            _KNOWN.setdefault(network, {})[layer] = (head.name, head.relu, head.maximum)
            return head.features(output), logits, head
        tried = list(dict.fromkeys(candidate.name for candidate in heads))
        found = f"linear layers {tried}, and the best fit misses the logits by {misfit:.1g} of their terms"
    raise ValueError(
        f"layer {layer!r} returns {output.shape[1]} channels of {output.shape[2]} x {output.shape[3]} for "
        f"{logits.shape[1]} logits, and the network has {found}. A class activation map needs global average or max "
        "pooling of that layer's channels, with or without a ReLU before, then one linear layer to the logits (Python "
        "code, not TorchScript). Name the last layer before such a pooling, or use grad_cam, which needs none."
    )


def weighted_sum(features: torch.Tensor, weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """Sum of the channels with weights [B, K], bilinear at the inputs' size: float [B, 1, H, W]."""
    maps = torch.einsum("bk,bkhw->bhw", weights, features)[:, None]
    return nn.functional.interpolate(maps, size=inputs.shape[-2:], mode="bilinear", align_corners=False)


def _known(network: nn.Module, layer: str, *, channels: int, classes: int) -> PooledHead | None:
    """The head that an earlier call found, with the weights of now."""
    if layer not in _KNOWN.get(network, {}):
        return None
    name, relu, maximum = _KNOWN[network][layer]
    try:
        module = network.get_submodule(name)
    except AttributeError:
        return None
    return _head(name, module, relu, maximum, channels=channels, classes=classes)


def _candidates(network: nn.Module, *, channels: int, classes: int) -> Iterator[PooledHead]:
    for name, module in network.named_modules():
        for relu in (False, True):
            for maximum in (False, True):
                head = _head(name, module, relu, maximum, channels=channels, classes=classes)
                if head is not None:
                    yield head


def _head(name: str, module: nn.Module, relu: bool, maximum: bool, *, channels: int, classes: int) -> PooledHead | None:
    """The module as a head, if it has so many inputs and outputs."""
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return None
    weight = module.weight.detach()
    if weight.shape not in ((classes, channels), (classes, channels, 1, 1)):
        return None
    bias = weight.new_zeros(classes) if module.bias is None else module.bias.detach()
    return PooledHead(name, weight.flatten(1), bias, relu, maximum)


def _probe(output: torch.Tensor) -> torch.Tensor:
    """Two fixed images of random channels, [2, K, h, w], to which no two kinds of head answer alike.

    A ReLU shows behind max pooling only in channels that are negative everywhere, as all are in the first image; where
    it stands beside average pooling shows only in channels of both signs, as all are in the second. The channels'
    scales differ, or weights that sum to 0 would hide much.
    """
    generator = torch.Generator().manual_seed(0)
    uniform = torch.rand(2, *output.shape[1:], generator=generator)
    scale = 2 + 8 * torch.rand(output.shape[1], 1, 1, generator=generator)
    return (scale * torch.stack([-uniform[0], 2 * uniform[1] - 1])).to(output)
