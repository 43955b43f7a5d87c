"""Which network and which software made a result: hashes and versions, no names and no dates."""

from __future__ import annotations

import hashlib
import platform
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import monai
import numpy as np
import torch
from torch import nn

from monai_robustinterp._version import __version__
from monai_robustinterp.interpreters.context.torchscript import outermost_scripts

_known: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[tuple[int, int], ...], str]] = weakref.WeakKeyDictionary()


def provenance(network: nn.Module, image: torch.Tensor, files: Mapping[str, str] | None = None) -> dict[str, str]:
    """Entry ``provenance`` of a record.

    Args:
        network: that took the votes.
        image: that it saw; a classifier without weights ran where this is.
        files: hashes of the files that it came from.
    """
    return {
        "software": f"monai_robustinterp {__version__}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "numpy": np.__version__,
        "device": next((weight.device for weight in network.parameters()), image.device).type,
        "network_sha256": network_sha256(network),
        **(files or {}),
    }


def network_sha256(network: nn.Module) -> str:
    """SHA-256 of a network's weights in memory: names, types, shapes and values of its state dict, in its order.

    Of a TorchScript module its operations and constants belong to it, since freezing moves weights there. A network
    without weights in this process has "": it may be a remote classifier.

    Args:
        network: any torch module. While its weights do not change they are read once.
    """
    state = dict(network.state_dict())
    scripts = list(outermost_scripts(network))
    if not state and not scripts:
        return ""
    inference = any(tensor.is_inference() for tensor in state.values())
    version = () if inference else tuple((t.data_ptr(), t._version) for t in state.values())
    kept = _known.get(network)
    if version and kept is not None and kept[0] == version:
        return kept[1]
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name}|".encode())
        digest.update(_bytes(tensor))
    for script in scripts:
        for content in _operations(script.inlined_graph):
            digest.update(content)
    found = digest.hexdigest()
    _known[network] = (version, found)
    return found


def _operations(block: Any) -> Iterator[bytes]:
    """Kinds and constants of the nodes of a TorchScript graph, in their order; names differ between two equal ones."""
    for node in block.nodes():
        yield node.kind().encode()
        value = node.output().toIValue() if node.kind() == "prim::Constant" else None
        yield _bytes(value) if isinstance(value, torch.Tensor) else repr(value).encode()
        for inner in node.blocks():
            yield from _operations(inner)


def _bytes(tensor: torch.Tensor) -> bytes:
    return f"{tensor.dtype}|{tuple(tensor.shape)}|".encode() + bytes(
        tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    )
