"""Votes of one method on one image for a budget of CPU time; a longer budget goes on where a shorter one ended."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import torch

from benchmarks.interpreters.plan import BUNDLE, Method
from monai_robustinterp import SaliencyBundle, SmoothingSpec, VoteMap, load_bundle
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE, fill
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.smoothing.tally import VoteTally
from monai_robustinterp.study.settings import versions
from monai_robustinterp.study.store import earlier_votes, keep_votes


@functools.cache
def method_bundle(method: Method) -> SaliencyBundle:
    """The findings' classifier with this method, on the CPU; the finding is the arg-max of each image; loaded once."""
    overrides = {
        "device": "$torch.device('cpu')",
        "target": "$None",
        "interpreter_name": method.name,
        "interpreter_settings": dict(method.settings),
    }
    return load_bundle(BUNDLE, overrides)


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
    network, recipe = bundle.network, dataclasses.replace(_recipe(bundle), n_samples=n_samples)
    provenance = {
        "weights_sha256": bundle.files["weights_sha256"],
        **versions(),
        "image_sha256": image_sha256(image),
    }
    with explaining(network, recipe.precision):
        case = recipe.case(image, network)
        if earlier := earlier_votes(path, case.spec, provenance):
            if earlier.n_samples >= n_samples:
                return earlier, dataclasses.replace(case.spec, n_samples=earlier.n_samples)
            _go_on(case.tally, earlier)
        batch_size = recipe.batch_size or DEFAULT_BATCH_SIZE
        fill([case.tally], network, n_samples, batch_size=batch_size)
        case.look(batch_size)
    keep_votes(path, case.votes, case.spec, provenance)
    return case.votes, case.spec


def _go_on(tally: VoteTally, votes: VoteMap) -> None:
    """Puts the votes of an earlier run into a new tally."""
    tally.counts += torch.from_numpy(votes.counts).flatten()
    tally.n_samples = votes.n_samples
    if votes.copy_votes is not None and votes.copy_found is not None:
        tally.kept_votes[: votes.n_samples] = torch.from_numpy(votes.copy_votes)
        found = np.unpackbits(votes.copy_found, count=votes.n_samples)
        tally.kept_found[: votes.n_samples] = torch.from_numpy(found)
    tally.copies[:3] += torch.tensor([votes.found_copies, votes.tied_copies, votes.constant_copies])


def _recipe(bundle: SaliencyBundle) -> Recipe:
    """The bundle's, at one batch size on every machine."""
    recipe = bundle.inferer.recipe
    return dataclasses.replace(recipe, batch_size=recipe.batch_size or DEFAULT_BATCH_SIZE)
