"""A MONAI bundle of a classifier that can be certified: network, preprocessing and inferer."""

from __future__ import annotations

import copy
import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, LoadImaged
from torch import nn

from monai_robustinterp.errors import InputRefused, of_users_transform, own_message
from monai_robustinterp.files import file_sha256
from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.networks.denoised import Denoiser
from monai_robustinterp.networks.lung_fields import LungFields
from monai_robustinterp.networks.provenance import network_sha256
from monai_robustinterp.networks.state_dict import read_state_dict

DEFAULT_BUNDLE = "chest_xray_evidence"
_CONFIG = Path("configs") / "inference.json"


class SaliencyBundle:
    """What a certified run needs of a bundle.

    Attributes:
        root: folder of the bundle.
        network: classifier in eval mode, with its weights.
        preprocessing: invertible transforms of ``{"image": path}`` to the network's input [1, H, W]; the first one is
            ``LoadImaged`` with :class:`~monai_robustinterp.ChestXRayReader`.
        inferer: the smoothing, interpretation and certification.
        interpreter_arguments: what interpreters must know of the network: ``target_layer``, ``activation``.
        device: where the network runs.
        lungs: segmenter of the lung fields, whose share of the votes is certified too; None leaves them out.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        weights: str | Path,
        network: nn.Module,
        preprocessing: Compose,
        inferer: CertifiedSaliencyInferer,
        interpreter_arguments: Mapping[str, Any] | None = None,
        device: torch.device | str = "cpu",
        lungs: LungFields | None = None,
    ) -> None:
        if not preprocessing.transforms or not isinstance(preprocessing.transforms[0], LoadImaged):
            raise ValueError(
                "the bundle's preprocessing must begin with LoadImaged(keys='image', reader=ChestXRayReader()): the "
                "picture under the map is what that step reads. Put it first, and nothing around it."
            )
        self.root, self.device, self.lungs = Path(root), torch.device(device), lungs
        if self.device.type == "cpu":
            # Convolutions are faster in this layout there, and give the same values within round-off.
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network, self.preprocessing, self.inferer = network.eval(), preprocessing, inferer
        self.interpreter_arguments = dict(interpreter_arguments or {})
        # When a transform fails MONAI logs what it was given: paths and metadata, which may name the patient.
        self.preprocessing.log_stats = False
        self._weights = (network, network_sha256(network), file_sha256(weights))
        self._config_sha256 = file_sha256(self.root / _CONFIG)

    def with_inferer(self, inferer: CertifiedSaliencyInferer) -> SaliencyBundle:
        """The same classifier, certified in another way."""
        made = copy.copy(self)
        made.inferer = inferer
        return made

    def preprocessed(self, loaded: Mapping[str, Any]) -> Any:
        """The network's input [1, H, W] of what the first transform loaded.

        Raises:
            InputRefused: if a transform fails, in its own words.
        """
        try:
            return self.preprocessing(loaded, start=1)["image"]
        except Exception as error:
            meta = loaded["image"].meta
            path = Path(str(meta.get("filename_or_obj", "")))
            identifiers = (str(value) for key, value in meta.items() if key.endswith("_uid"))
            refused = of_users_transform(error, (str(path), path.name, path.stem, *identifiers))
            if refused is None:
                raise
            raise refused from error

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the files that network, settings and input statistics come from, for the record.

        The weights file is named only while the network is the one that was read from it.
        """
        network, loaded, weights_sha256 = self._weights
        unchanged = self.network is network and network_sha256(network) == loaded
        expected = self.inferer.recipe.expected
        return (
            {"config_sha256": self._config_sha256}
            | ({"weights_sha256": weights_sha256} if unchanged else {})
            | ({"input_statistics_sha256": expected.file_sha256} if expected and expected.file_sha256 else {})
        )


def load_bundle(root: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> SaliencyBundle:
    """Reads a bundle's ``configs/inference.json`` and builds its parts.

    A bundle's configuration is code (MONAI evaluates its ``$`` expressions): load only bundles that you trust.

    Args:
        root: the name of a bundle that this package ships, or the folder of one; None takes the default one. A shipped
            name never means a folder of the working directory: that is ``./NAME``.
        overrides: values for keys of the configuration, such as ``{"sigma": 0.25}``; None values are left out.

    Raises:
        InputRefused: if there is no such bundle or its parts cannot be built.
    """
    folder = bundle_folder(DEFAULT_BUNDLE if root is None else root)
    _check_config(folder)
    try:
        parser = _parser(folder)
        for key, value in _with_own_settings(parser, overrides or {}).items():
            if value is not None:
                _check_key(parser, key)
                parser[key] = value
        with _without_decoder_message():
            bundle = parser.get_parsed_content("saliency_bundle")
    except Exception as error:
        ours = own_message(error)
        if ours is not None:
            raise InputRefused(ours) from error
        raise InputRefused(
            f"the bundle could not be built ({type(error).__name__}: {_root_cause(error)}). Its configs/inference.json "
            "must define 'saliency_bundle', and its 'network' must be able to load the file that 'ckpt_path' names."
        ) from error
    if not isinstance(bundle, SaliencyBundle):
        raise InputRefused(
            f"'saliency_bundle' of the bundle is a {type(bundle).__name__}; it must be a SaliencyBundle."
        )
    return bundle


def _check_config(folder: Path) -> None:
    if not (folder / _CONFIG).is_file():
        raise InputRefused(
            "the bundle folder has no configs/inference.json. A bundle holds that file and its weights in models/ "
            "(docs/how-to/your-own-model.md): pass the folder that contains configs/."
        )


def _parser(folder: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(str(folder / _CONFIG))
    parser["bundle_root"] = str(folder)
    return parser


@contextmanager
def _without_decoder_message() -> Iterator[None]:
    """LoadImage builds every reader that MONAI knows; the one for a missing GPU decoder logs of itself and warns."""
    logger = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*nvImageCodec.*")
            yield
    finally:
        logger.setLevel(level)


def _with_own_settings(parser: ConfigParser, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides; settings of the interpreter that the bundle has go on top of the bundle's own."""
    settings = overrides.get("interpreter_settings")
    own = parser.get("interpreter_settings") or {}
    if settings is None or overrides.get("interpreter_name") != parser.get("interpreter_name"):
        return dict(overrides)
    return dict(overrides) | {"interpreter_settings": {**own, **settings}}


def _check_key(parser: ConfigParser, key: str) -> None:
    # MONAI would take a new key and use it nowhere: the run would silently have another setting than was asked for.
    if key not in parser.config:
        raise InputRefused(
            f"the bundle's configs/inference.json has no {key!r}, so it cannot be set from outside. Give the bundle "
            "that key and refer to it (docs/how-to/your-own-model.md), or leave the option away."
        )


def load_weights(network: nn.Module, path: str | Path) -> nn.Module:
    """Loads a plain state dict, without unpickling code, and returns the network.

    Raises:
        RuntimeError: if keys or shapes do not match.
        ValueError: if the file is damaged or holds anything but tensors.
    """
    network.load_state_dict(read_state_dict(path))
    return network


def load_denoiser(source: str | Path | None, *, device: torch.device | str = "cpu") -> Denoiser | None:
    """A denoiser for copies with noise.

    Args:
        source: the name of a shipped denoiser bundle, or the folder of a bundle whose ``configs/inference.json``
            defines ``denoiser``, a :class:`~monai_robustinterp.networks.denoised.Denoiser`; or a TorchScript file,
            called with images [B, 1, H, W] and standard deviations [B]. Both are code: load only those that you trust.
            None or "none" is no denoiser.
        device: where it runs.

    Raises:
        InputRefused: if it is none of these.
    """
    if source is None or str(source) == "none":
        return None
    if str(source) not in _shipped() and Path(source).is_file():
        try:
            network = load_torchscript(source).to(device)
        except RuntimeError as error:
            raise InputRefused(
                "the denoiser file is no TorchScript module: save it with torch.jit.save, or give a bundle's folder."
            ) from error
        return Denoiser(network, name="TorchScript file")
    denoiser = _part(source, "denoiser")
    if not isinstance(denoiser, Denoiser):
        raise InputRefused("the bundle defines no denoiser: its configs/inference.json must have one as 'denoiser'.")
    # As for the classifier, whose layout it then has to hand over in.
    denoiser.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return denoiser


def load_lung_fields(source: str | Path | None, *, device: torch.device | str = "cpu") -> LungFields | None:
    """A segmenter of the lung fields.

    Args:
        source: the name of a shipped bundle, or the folder of one, whose ``configs/inference.json`` defines
            ``lung_fields``, a :class:`~monai_robustinterp.networks.lung_fields.LungFields`. It is code: load only one
            that you trust. None or "off" is no segmenter.
        device: where it runs.

    Raises:
        InputRefused: if it is none of these.
    """
    if source is None or str(source) == "off":
        return None
    lung_fields = _part(source, "lung_fields")
    if not isinstance(lung_fields, LungFields):
        raise InputRefused(
            "the bundle defines no segmenter of the lungs: its configs/inference.json must have one as 'lung_fields'."
        )
    lung_fields.network.to(device=device)
    return lung_fields


def load_misses(path: str | Path, network: nn.Module) -> dict[str, str]:
    """What a classifier was seen to miss, by the name of a finding, for pictures that do not have it.

    Args:
        path: of the JSON file ``{"network_sha256": ..., "misses": {NAME: SENTENCE}}``.
        network: the classifier.

    Returns:
        The sentences; none if there is no file, or it is about other weights.

    Raises:
        InputRefused: if the file is of another form.
    """
    if not Path(path).exists():
        return {}
    try:
        stored = json.loads(Path(path).read_text())
        about, misses = stored["network_sha256"], dict(stored["misses"])
        well_formed = all(isinstance(sentence, str) for sentence in misses.values())
    except (ValueError, TypeError, KeyError):
        well_formed = False
    if not well_formed:
        raise InputRefused(
            f'{Path(path).name} is not of the form {{"network_sha256": TEXT, "misses": {{NAME: SENTENCE}}}}. Correct '
            "it, or delete it: then nothing is said of what the network misses."
        )
    return misses if about == network_sha256(network) else {}


def _part(source: str | Path, key: str) -> Any:
    """What a bundle's configuration defines under a key; None if it does not."""
    folder = bundle_folder(source)
    _check_config(folder)
    parser = _parser(folder)
    return parser.get_parsed_content(key) if key in parser.config else None


def load_torchscript(path: str | Path) -> torch.jit.ScriptModule:
    """Loads a TorchScript module (``torch.jit.save``) onto the CPU. Such a file is code: load only those you trust.

    Raises:
        RuntimeError: if the file is no TorchScript archive.
    """
    with warnings.catch_warnings():
        # torch deprecates TorchScript, and hospitals hold files of it.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning)
        module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    return module


def bundle_folder(root: str | Path) -> Path:
    """Folder of a shipped bundle, by its name, or of any other one, by its path.

    Raises:
        InputRefused: if there is none.
    """
    # A name first: who writes into the working directory must not decide which code a shipped name runs.
    if str(root) not in _shipped() and Path(root).is_dir() and str(root):
        return Path(root)
    return shipped_bundle(str(root))


def shipped_bundle(name: str = DEFAULT_BUNDLE) -> Path:
    """Folder of a shipped bundle: package data of an installed wheel, ``bundles/`` of a source tree.

    Raises:
        InputRefused: with the names, if there is none of that name.
    """
    shipped = _shipped()
    if name not in shipped:
        raise InputRefused(
            f"there is no such bundle folder, and no shipped bundle of that name: the names are {sorted(shipped)}. "
            "Pass one of them, or the folder of a bundle."
        )
    return shipped[name]


def _shipped() -> dict[str, Path]:
    package = Path(__file__).parent
    roots = (package.parent / "bundles", package / "bundles")
    return {config.parents[1].name: config.parents[1] for root in roots for config in root.glob(f"*/{_CONFIG}")}


def running_bundle_root() -> str:
    """Folder of the bundle that ``python -m monai.bundle run`` is running.

    MONAI puts it on ``sys.path`` and tells no expression of the configuration; the working directory is the fallback.
    """
    for entry in sys.path[:3]:
        if entry and (Path(entry) / _CONFIG).is_file():
            return entry
    return "."


def _root_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]
