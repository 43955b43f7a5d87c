"""One map of a table: plain, certified or blind, with what its certificate says."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import torch
from torch import nn

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.certificates.ledger import applied, ledger_record
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.interpreters import check_precision, explaining
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.smoothing.batching import DEFAULT_BATCH_SIZE
from monai_robustinterp.smoothing.recipe import Recipe
from monai_robustinterp.smoothing.voting import NonFiniteMapError
from monai_robustinterp.study.blind import blind_map
from monai_robustinterp.study.contenders import Contender
from monai_robustinterp.study.workplace import Explain, FilmAtWork, Map, Workplace

Facts = dict[str, Any]


def take_map(place: Workplace, film: FilmAtWork, contender: Contender, *, n_samples: int) -> tuple[Map, Facts]:
    """The map of one contender on one film.

    Args:
        place: bundles and films.
        film: read by ``place``.
        contender: whose map it is.
        n_samples: noisy copies of a certified map.

    Returns:
        Values, float64 [h, w], larger is more; and ``score``, ``cpu_s``, and for votes ``copies``, the radii ``map``,
        ``decision`` and ``both`` (l2, population level), ``ceiling_share``, ``kept``, and of the named changes
        ``covered`` (by both) and ``tested``.

    Raises:
        InputRefused: if there is no such map of this film.
    """
    bundle = place.bundle(contender)
    score = bundle.inferer.recipe.findings.score(film.logits, film.target)
    if contender.kind == "certified":
        # All maps of a film share the changes: no map's seconds have them.
        place.changes(film)
    start = time.process_time()
    if contender.kind == "certified":
        saliency, facts = _certified(place, bundle, film, n_samples)
    else:
        saliency, facts = explanation(place, film, contender, n_samples=n_samples)(bundle.network, film.clean), {}
    return saliency, {"score": score, "cpu_s": time.process_time() - start, **facts}


def explanation(place: Workplace, film: FilmAtWork, contender: Contender, *, n_samples: int) -> Explain:
    """The contender as a function of a network and an image; arguments as for :func:`take_map`."""
    bundle, target = place.bundle(contender), film.target
    recipe = bundle.inferer.recipe

    def plain(network: nn.Module, image: torch.Tensor) -> Map:
        check_precision(recipe.interpreter, recipe.precision)
        with explaining(network, recipe.precision):
            found = recipe.interpreter.attribute(network, image[None].clone(), target).maps[0, 0]
        values: Map = found.detach().cpu().numpy().astype(np.float64)
        if not np.isfinite(values).all():
            raise NonFiniteMapError("the map has NaN or infinite values: check the network's weights and the settings.")
        return values

    def votes(network: nn.Module, image: torch.Tensor) -> Map:
        ((found, _),) = _of_any_input(bundle, target, n_samples).vote([image], network)
        shares: Map = found.counts / found.n_samples
        return shares

    def blind(_network: nn.Module, image: torch.Tensor) -> Map:
        height, width = (side // recipe.cell_size for side in image.shape[-2:])
        return blind_map(contender.name, (height, width), digest=image_sha256(image), lungs=film.mask("lungs"))

    return {"plain": plain, "certified": votes, "blind": blind}[contender.kind]


def _certified(place: Workplace, bundle: SaliencyBundle, film: FilmAtWork, n_samples: int) -> tuple[Map, Facts]:
    claim = bundle.inferer.claim
    recipe = _of_any_input(bundle, film.target, n_samples)
    ((votes, spec),) = recipe.vote([film.clean], bundle.network)
    certificate = certify_votes(votes, spec, beta=claim.beta, eta=claim.eta)
    both = min(certificate.l_max, certificate.label.l2)
    entries = applied(ledger_record(place.changes(film), both, spec))
    facts = {
        "copies": spec.n_samples,
        "map": certificate.l_max,
        "decision": certificate.label.l2,
        "both": both,
        "ceiling_share": certificate.ceiling_share,
        "kept": votes.label_agreement,
        "covered": sum(entry["covered"] for entry in entries),
        "tested": len(entries),
    }
    return votes.counts / votes.n_samples, facts


def _of_any_input(bundle: SaliencyBundle, target: int, n_samples: int) -> Recipe:
    """The bundle's recipe with one number of copies, for images that metrics changed too."""
    recipe = bundle.inferer.recipe
    if recipe.looks:
        raise InputRefused("the bundle stops sampling early; a table compares equal numbers of copies. Leave that out.")
    return dataclasses.replace(
        recipe,
        n_samples=n_samples,
        target=target,
        any_input=True,
        batch_size=recipe.batch_size or DEFAULT_BATCH_SIZE,
    )
