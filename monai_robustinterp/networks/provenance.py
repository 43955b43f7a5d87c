"""Which network and which software made a result: hashes and versions, no names and no dates."""

from __future__ import annotations

import hashlib
import io
import platform
import weakref
import zipfile
from collections.abc import Iterator, Mapping

import monai
import numpy as np
import torch
from torch import nn

from monai_robustinterp._version import __version__
from monai_robustinterp.interpreters.context.torchscript import outermost_scripts

_known: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[tuple[int, int], ...], str]] = weakref.WeakKeyDictionary()


def provenance(network: nn.Module, device: torch.device, files: Mapping[str, str] | None = None) -> dict[str, str]:
    """Entry ``provenance`` of a record.

    Args:
        network: that took the votes.
        device: where it ran.
        files: hashes of the files that it came from.
    """
    return {
        "software": f"monai_robustinterp {__version__}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "numpy": np.__version__,
        "device": device.type,
        "network_sha256": network_sha256(network),
        **(files or {}),
    }


def network_sha256(network: nn.Module) -> str:
    """SHA-256 of a network's weights in memory: names, types, shapes and values of its state dict, in its order.

    Of a TorchScript module it is the hash of its saved archive, since freezing moves weights into the code. A
    network without weights in this process has "": it may be a remote classifier.

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
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    for script in scripts:
        for content in _archive(script):
            digest.update(content)
    found = digest.hexdigest()
    _known[network] = (version, found)
    return found


def _archive(script: torch.jit.ScriptModule) -> Iterator[bytes]:
    """Content of a TorchScript module's archive, by the names of its parts."""
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    with zipfile.ZipFile(buffer) as archive:
        for name in sorted(archive.namelist()):
            yield name.partition("/")[2].encode()
            yield archive.read(name)
