"""Noise, interpretation, votes and certificate as a MONAI inferer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from scipy.special import expit, softmax
from torch import nn

from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.certificates.overlap import swap_count
from monai_robustinterp.interpreters import Interpreter, explaining, interpreter_class
from monai_robustinterp.interpreters.base import target_logits
from monai_robustinterp.noise import CounterNoise, image_sha256
from monai_robustinterp.records import certificate_record
from monai_robustinterp.types import Certificate, SmoothingSpec, Stages, VoteMap
from monai_robustinterp.voting import pool_cells, top_k_votes

Activation = Literal["softmax", "sigmoid"]
Progress = Callable[[int], object]


class CertifiedSaliencyInferer(Inferer):
    """Certified saliency of a classifier's finding.

    It may be called under ``no_grad`` or inside an evaluator, and leaves the network as it was.

    Args:
        interpreter: an interpreter, or its name in ``INTERPRETERS``.
        sigma: standard deviation of the noise in units of the network's single-channel input.
        n_samples: number of noisy copies m.
        top_k: number of cells that each copy votes for.
        cell_size: side of a cell in pixels of the input grid.
        beta: certified share of the top-k, a decimal string or a number in (0, 1].
        eta: failure probability per image.
        target: explained logit, as its index or its name in ``class_names``; None takes the arg-max of the clean image,
            once.
        class_names: names of the logits.
        activation: ``softmax`` for exclusive classes, ``sigmoid`` for independent findings.
        seed: user seed of the noise; a searched seed voids the certificate.
        batch_size: noisy copies per forward pass; it changes nothing but speed, up to float round-off.
    """

    def __init__(
        self,
        *,
        interpreter: Interpreter | str = "gradient",
        sigma: float = 0.1,
        n_samples: int = 384,
        top_k: int = 38,
        cell_size: int = 8,
        beta: str | float = "0.5",
        eta: float = 0.001,
        target: int | str | None = None,
        class_names: Sequence[str] = (),
        activation: Activation = "softmax",
        seed: int = 0,
        batch_size: int = 16,
    ) -> None:
        super().__init__()
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(f"activation is {activation!r}; it must be 'softmax' or 'sigmoid'.")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be >= 1.")
        self.interpreter = interpreter_class(interpreter)() if isinstance(interpreter, str) else interpreter
        self.sigma, self.n_samples, self.top_k, self.cell_size = sigma, n_samples, top_k, cell_size
        self.beta, self.eta, self.activation = beta, eta, activation
        self.class_names = tuple(class_names)
        self.target = self._class_index(target) if isinstance(target, str) else target
        self.seed, self.batch_size = seed, batch_size

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> MetaTensor:
        """Certified vote maps of a batch of images.

        Args:
            inputs: float [B, 1, H, W], preprocessed; a MetaTensor's metadata and history are kept.
            network: returns logits [B, classes].
            args: not used (MONAI's inferer signature).
            kwargs: not used.

        Returns:
            MetaTensor float32 [B, 2, H, W]: vote share of each pixel's cell in [0, 1], and the reported top-k set as 0
            or 1. Its meta gains ``certificate`` (a JSON text an image) and ``vote_counts`` (int64 [B, h, w]).
        """
        results = [self.certify(image, network) for image in inputs]
        maps = torch.stack([torch.from_numpy(votes.channels(self.cell_size)) for votes, _ in results])
        out = MetaTensor(maps.to(inputs.device))
        if isinstance(inputs, MetaTensor):
            out.copy_meta_from(inputs, copy_attr=True)
        out.meta["certificate"] = [json.dumps(self.record(votes, certificate)) for votes, certificate in results]
        out.meta["vote_counts"] = torch.stack([torch.from_numpy(votes.counts) for votes, _ in results])
        return out

    def certify(
        self, image: torch.Tensor, network: nn.Module, progress: Progress | None = None
    ) -> tuple[VoteMap, Certificate]:
        """Votes and certificate of one image [1, H, W]."""
        votes, spec = self.vote(image, network, progress)
        return votes, certify_votes(votes, spec, beta=self.beta, eta=self.eta)

    def vote(
        self, image: torch.Tensor, network: nn.Module, progress: Progress | None = None
    ) -> tuple[VoteMap, SmoothingSpec]:
        """Streams the votes of one image; memory does not grow with the number of samples.

        Args:
            image: float [1, H, W] on the network's device, finite.
            network: returns logits [B, classes].
            progress: called with the number of copies just done.

        Raises:
            ValueError: if the image is not [1, H, W] and finite, or the cells do not fit.
            NonFiniteMapError: if an interpretation has NaN or infinite values.
        """
        clean = _single_channel(image)
        self._check_grid(clean)
        digest = image_sha256(clean)
        with explaining(network):
            # A clone made outside inference mode is an ordinary tensor, which autograd accepts.
            clean = clean.clone()
            with torch.no_grad():
                logits = network(clean[None])
            target = int(logits.argmax()) if self.target is None else self.target
            logits = target_logits(logits, target)
            spec = self._spec(target)
            tally = _Tally(self, clean, digest, spec)
            for start in range(0, self.n_samples, self.batch_size):
                stop = min(start + self.batch_size, self.n_samples)
                tally.add(network, torch.arange(start, stop, device=clean.device))
                if progress is not None:
                    progress(stop - start)
        return tally.votes(logits), spec

    def stages(self, image: torch.Tensor, network: nn.Module, *, target: int, n_copies: int) -> Stages:
        """The first noisy copies with their maps and votes: the same draws as in :meth:`vote`."""
        clean = _single_channel(image)
        with explaining(network):
            clean = clean.clone()
            plain = self.interpreter.attribute(network, clean[None], target).maps[0, 0]
            tally = _Tally(self, clean, image_sha256(clean), self._spec(target))
            copies, cells, top = tally.interpret(network, torch.arange(n_copies, device=clean.device))
        arrays = {"plain": plain, "copies": copies[:, 0], "maps": cells, "votes": top.reshape(cells.shape)}
        return Stages(**{name: array.detach().cpu().numpy() for name, array in arrays.items()})

    def record(self, votes: VoteMap, certificate: Certificate) -> dict[str, Any]:
        """The JSON record of one image: certificate, finding and evidence."""
        target = certificate.spec.target
        return certificate_record(certificate, votes, finding=self.class_name(target), score=self.score(votes, target))

    def score(self, votes: VoteMap, target: int) -> float:
        """Softmax or sigmoid of the target's logit for the clean image, in [0, 1]; a network's own, not calibrated."""
        logits = votes.logits.astype(np.float64)
        return float(expit(logits[target]) if self.activation == "sigmoid" else softmax(logits)[target])

    def class_name(self, target: int) -> str:
        """Name of a logit; "class 3" if it has none."""
        return self.class_names[target] if target < len(self.class_names) else f"class {target}"

    def finds(self, logits: torch.Tensor, target: int) -> torch.Tensor:
        """Whether the network finds the target, bool [B]: arg-max, or logit > 0 for independent findings."""
        return logits[:, target] > 0 if self.activation == "sigmoid" else logits.argmax(dim=1) == target

    def _class_index(self, name: str) -> int:
        if name not in self.class_names:
            raise ValueError(f"target is {name!r}; it must be a class index or one of {list(self.class_names)}.")
        return self.class_names.index(name)

    def _check_grid(self, clean: torch.Tensor) -> None:
        height, width = clean.shape[-2:]
        if height % self.cell_size or width % self.cell_size:
            raise ValueError(f"cell_size is {self.cell_size}; it must divide the network's input, {height} x {width}.")
        swap_count(self.top_k, self.beta, (height // self.cell_size) * (width // self.cell_size))

    def _spec(self, target: int) -> SmoothingSpec:
        return SmoothingSpec(
            sigma=self.sigma,
            n_samples=self.n_samples,
            top_k=self.top_k,
            cell_size=self.cell_size,
            interpreter=self.interpreter.name,
            target=target,
            seed=self.seed,
        )


class _Tally:
    """Running vote counts of one image."""

    def __init__(
        self, inferer: CertifiedSaliencyInferer, clean: torch.Tensor, digest: str, spec: SmoothingSpec
    ) -> None:
        self.inferer, self.clean, self.digest, self.spec = inferer, clean, digest, spec
        self.noise = CounterNoise(seed=spec.seed, image_hash=digest, protocol=spec.noise)
        self.grid = tuple(side // spec.cell_size for side in clean.shape[-2:])
        self.counts = torch.zeros(self.grid[0] * self.grid[1], dtype=torch.int64, device=clean.device)
        self.positive = self.tied = self.constant = 0

    def interpret(self, network: nn.Module, samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Noisy copies [B, 1, H, W], pooled maps [B, h, w] and top-k masks [B, h * w]; counts ties and labels."""
        copies = self.clean + self.spec.sigma * self.noise.normal(samples, tuple(self.clean.shape))
        attribution = self.inferer.interpreter.attribute(network, copies, self.spec.target)
        cells = pool_cells(attribution.maps, self.spec.cell_size)
        top = top_k_votes(
            cells.flatten(1),
            self.spec.top_k,
            lambda rows: self.noise.order(samples[rows], self.counts.numel()),
        )
        self.positive += int(self.inferer.finds(attribution.logits, self.spec.target).sum())
        self.tied += int(top.tied.sum())
        self.constant += int(top.constant.sum())
        return copies, cells, top.mask

    def add(self, network: nn.Module, samples: torch.Tensor) -> None:
        self.counts += self.interpret(network, samples)[2].sum(dim=0)

    def votes(self, logits: torch.Tensor) -> VoteMap:
        height, width = self.clean.shape[-2:]
        return VoteMap(
            counts=self.counts.reshape(self.grid).cpu().numpy(),
            n_samples=self.spec.n_samples,
            top_k=self.spec.top_k,
            input_shape=(height, width),
            image_sha256=self.digest,
            logits=logits[0].float().cpu().numpy(),
            positive=bool(self.inferer.finds(logits, self.spec.target)[0]),
            positive_copies=self.positive,
            tied_copies=self.tied,
            constant_copies=self.constant,
        )


def _single_channel(image: torch.Tensor) -> torch.Tensor:
    """The plain float32 tensor [1, H, W] of an image."""
    if image.ndim != 3 or image.shape[0] != 1:
        raise ValueError(
            f"the image has shape {tuple(image.shape)}; it must be [1, H, W]: one channel, before replication and "
            "normalisation, which belong into the network (networks.GrayscaleInput)."
        )
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    plain = plain.detach().to(torch.float32)
    if not bool(torch.isfinite(plain).all()):
        raise ValueError("the preprocessed image has NaN or infinite values: check the file and the preprocessing.")
    return plain
