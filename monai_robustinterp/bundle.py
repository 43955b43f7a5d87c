"""A MONAI bundle of a classifier that can be certified: network, preprocessing and inferer."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose
from torch import nn

from monai_robustinterp.errors import InputRefused, own_message
from monai_robustinterp.inferers import CertifiedSaliencyInferer

DEFAULT_BUNDLE = "chest_xray_certified_saliency"
_CONFIG = Path("configs") / "inference.json"
_WEIGHTS = Path("models") / "model.pt"


class SaliencyBundle:
    """What a certified run needs of a bundle.

    Attributes:
        root: folder of the bundle.
        network: classifier in eval mode, with its weights.
        preprocessing: invertible transforms of ``{"image": path}`` to the network's input [1, H, W].
        inferer: the smoothing, interpretation and certification.
        device: where the network runs.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        network: nn.Module,
        preprocessing: Compose,
        inferer: CertifiedSaliencyInferer,
        device: torch.device | str = "cpu",
    ) -> None:
        self.root, self.device = Path(root), torch.device(device)
        self.network, self.preprocessing, self.inferer = network.eval(), preprocessing, inferer
        # When a transform fails MONAI logs what it was given: paths and metadata, which may name the patient.
        self.preprocessing.log_stats = False
        self.hashes = {
            "weights_sha256": file_sha256(self.root / _WEIGHTS),
            "config_sha256": file_sha256(self.root / _CONFIG),
        }


def load_bundle(root: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> SaliencyBundle:
    """Reads a bundle's ``configs/inference.json`` and builds its parts.

    A bundle's configuration is code (MONAI evaluates its ``$`` expressions): load only bundles that you trust.

    Args:
        root: folder of the bundle; None takes the one that this package ships.
        overrides: values for keys of the configuration, such as ``{"sigma": 0.25}``; None values are left out.

    Raises:
        InputRefused: if the folder is no such bundle or its parts cannot be built.
    """
    folder = shipped_bundle() if root is None else Path(root)
    missing = [str(part) for part in (_CONFIG, _WEIGHTS) if not (folder / part).is_file()]
    if missing:
        raise InputRefused(
            f"the bundle folder has no {' and no '.join(missing)}. A bundle holds configs/inference.json and "
            "models/model.pt (docs/reference.md): pass the folder that contains configs/."
        )
    try:
        parser = ConfigParser()
        parser.read_config(str(folder / _CONFIG))
        parser["bundle_root"] = str(folder)
        for key, value in (overrides or {}).items():
            if value is not None:
                parser[key] = value
        with warnings.catch_warnings():
            # LoadImage builds every reader that MONAI knows, and the one for a missing GPU decoder warns of itself.
            warnings.filterwarnings("ignore", message=".*nvImageCodec.*")
            bundle = parser.get_parsed_content("saliency_bundle")
    except Exception as error:
        ours = own_message(error)
        if ours is not None:
            raise InputRefused(ours) from error
        raise InputRefused(
            f"the bundle could not be built ({type(error).__name__}: {_root_cause(error)}). Its configs/inference.json "
            "must define 'saliency_bundle' and models/model.pt must hold the state dict of its 'network_def'."
        ) from error
    if not isinstance(bundle, SaliencyBundle):
        raise InputRefused(
            f"'saliency_bundle' of the bundle is a {type(bundle).__name__}; it must be a SaliencyBundle."
        )
    return bundle


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Loads a plain state dict, without unpickling code, and returns the network.

    Raises:
        RuntimeError: if keys or shapes do not match.
        pickle.UnpicklingError: if the file holds anything but tensors.
    """
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network


def shipped_bundle() -> Path:
    """The default bundle: package data of an installed wheel, ``bundles/`` of a source tree."""
    package = Path(__file__).parent
    for folder in (package / "bundles", package.parent / "bundles"):
        if (folder / DEFAULT_BUNDLE / _CONFIG).is_file():
            return folder / DEFAULT_BUNDLE
    raise InputRefused(f"the installation lacks its bundle {DEFAULT_BUNDLE}: install the package again.")


def running_bundle_root() -> str:
    """Folder of the bundle that ``python -m monai.bundle run`` is running.

    MONAI puts it on ``sys.path`` and tells no expression of the configuration; the working directory is the fallback.
    """
    for entry in sys.path[:3]:
        if entry and (Path(entry) / _CONFIG).is_file():
            return entry
    return "."


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]
