"""What the votes of one method on one image are worth, beside a map that ignores the image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.interpreters.plan import Method
from benchmarks.interpreters.votes import method_bundle, take_votes
from monai_robustinterp import CertifiedSaliencyInferer, SmoothingSpec, VoteMap, certify_votes
from monai_robustinterp.certificates.rerun import rerun_radius


def voted(path: Path, method: Method, image: torch.Tensor, n_samples: int, place: dict[str, Any]) -> dict[str, Any]:
    """Takes the votes of an image, keeps them at the path, and adds to ``place`` what they are worth."""
    bundle = method_bundle(method)
    votes, spec = take_votes(path, bundle, image, n_samples)
    return place | radii(votes, spec, bundle.inferer)


def radii(votes: VoteMap, spec: SmoothingSpec, inferer: CertifiedSaliencyInferer) -> dict[str, Any]:
    """Radii at the bundle's beta and eta, and the counts behind them.

    Args:
        votes: of the method.
        spec: of the votes.
        inferer: of the bundle.
    """
    beta, eta = inferer.claim.beta, inferer.claim.eta
    certificate = certify_votes(votes, spec, beta=beta, eta=eta)
    shares = np.sort(votes.counts.ravel() / votes.n_samples)[::-1]
    return {
        "n_samples": votes.n_samples,
        "plug_in": certificate.radius("plug-in", "neyman-pearson").l2,
        "renyi": certificate.radius("population", "renyi").l2,
        "neyman_pearson": certificate.radius("population", "neyman-pearson").l2,
        "rerun": rerun_radius(votes, spec, beta=beta, eta=eta, eta_rerun=eta).l2,
        "control": certificate.ceiling,
        "label": certificate.label.l2,
        # Of the k cells with the most votes: 1 where all copies agree.
        "mean_share_of_top_k": float(shares[: votes.top_k].mean()),
        "tied": votes.tied_copies,
        "constant": votes.constant_copies,
        "reported": np.flatnonzero(votes.top_k_mask).tolist(),
    }
