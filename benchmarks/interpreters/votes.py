"""Votes of one method on one image for a budget of CPU time; a longer budget goes on where a shorter one ended."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import torch

import monai_robustinterp
from benchmarks.interpreters.plan import BUNDLE, Method
from monai_robustinterp import SaliencyBundle, SmoothingSpec, VoteMap, load_bundle
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.interpreters.base import attribute_copies
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE, fill
from monai_robustinterp.smoothing.tally import VoteTally
from monai_robustinterp.study.store import earlier_votes, keep_votes
from monai_robustinterp.types import NOISE_PROTOCOL

REPEATS = 4
# After so many it is not measured again.
LONG_S = 10.0


def method_bundle(method: Method) -> SaliencyBundle:
    """The findings' classifier with this method, on the CPU; the finding is the arg-max of each image."""
    overrides = {
        "device": "$torch.device('cpu')",
        "target": "$None",
        "interpreter_name": method.name,
        "interpreter_settings": dict(method.settings),
    }
    return load_bundle(BUNDLE, overrides)


def seconds_per_copy(bundle: SaliencyBundle) -> float:
    """CPU seconds of a copy, with its noise and votes, as the votes are taken, on an image that is none of the table's.

    It fixes the number of copies before any of them is drawn.
    """
    image = torch.linspace(0, 1, 128)[None, :, None].repeat(1, 1, 128)
    alone = bundle.inferer.interpreter.amplifies_round_off
    size = 1 if alone else bundle.inferer.batch_size or DEFAULT_BATCH_SIZE
    seconds: list[float] = []
    with explaining(bundle.network):
        tally = _tally(bundle, image, 0)
        while len(seconds) < REPEATS and sum(seconds) < LONG_S:
            start = time.process_time()
            fill([tally], bundle.network, tally.n_samples + size, batch_size=size)
            seconds.append(time.process_time() - start)
    return min(seconds) / size


def take_votes(
    path: Path, bundle: SaliencyBundle, image: torch.Tensor, n_samples: int
) -> tuple[VoteMap, SmoothingSpec]:
    """The first ``n_samples`` copies; those that the file holds of the same settings are not repeated.

    Args:
        path: where the votes are kept.
        bundle: of the method.
        image: float [1, H, W], preprocessed.
        n_samples: copies; a file with more of them is taken as it is.
    """
    inferer, network = bundle.inferer, bundle.network
    with explaining(network):
        with torch.no_grad():
            logits = network(image[None])
        target = int(logits.argmax())
        spec = _spec(bundle, target)
        provenance = {
            "weights_sha256": bundle.hashes["weights_sha256"],
            "monai_robustinterp": monai_robustinterp.__version__,
            "torch": torch.__version__,
            "image_sha256": image_sha256(image),
        }
        tally = _tally(bundle, image, target)
        if earlier := earlier_votes(path, spec, provenance):
            _go_on(tally, earlier)
        fill([tally], network, n_samples, batch_size=inferer.batch_size or DEFAULT_BATCH_SIZE)
    votes, spec = tally.votes(logits, image_sha256(image)), dataclasses.replace(spec, n_samples=tally.n_samples)
    keep_votes(path, votes, spec, provenance)
    return votes, spec


def _go_on(tally: VoteTally, votes: VoteMap) -> None:
    """Puts the votes of an earlier run into a new tally."""
    tally.counts += torch.from_numpy(votes.counts).flatten()
    tally.n_samples = votes.n_samples
    tally.copies[:3] += torch.tensor([votes.found_copies, votes.tied_copies, votes.constant_copies])


def _spec(bundle: SaliencyBundle, target: int) -> SmoothingSpec:
    inferer = bundle.inferer
    return SmoothingSpec(
        sigma=inferer.sigma,
        n_samples=1,
        top_k=inferer.top_k,
        cell_size=inferer.cell_size,
        interpreter=inferer.interpreter.name,
        interpreter_settings=inferer.interpreter.settings,
        target=target,
        seed=inferer.seed,
    )


def _tally(bundle: SaliencyBundle, image: torch.Tensor, target: int) -> VoteTally:
    inferer = bundle.inferer
    return VoteTally(
        image,
        noise=CounterNoise(seed=inferer.seed, image_hash=image_sha256(image), protocol=NOISE_PROTOCOL),
        sigma=inferer.sigma,
        attribute=lambda network, copies: attribute_copies(inferer.interpreter, network, copies, target),
        finds=lambda logits: inferer.findings.finds(logits, target),
        top_k=inferer.top_k,
        cell_size=inferer.cell_size,
    )
