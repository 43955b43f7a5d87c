"""What the certified maps of a model are worth: radius, and where the votes lie."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from benchmarks.lungs.films import MarkedFilm
from monai_robustinterp import SaliencyBundle, certify_votes, load_bundle
from monai_robustinterp.certificates.ledger import MeasuredChange, applied, covers, ledger_record, radius_in_noise
from monai_robustinterp.certificates.region import region_statements
from monai_robustinterp.geometry.changes import NAMED
from monai_robustinterp.metrics.enrichment import enrichment, share_marked
from monai_robustinterp.metrics.intervals import bootstrap_interval
from monai_robustinterp.metrics.overlap import mean_pairwise_overlap
from monai_robustinterp.metrics.pointing_game import strongest_cell_marked
from monai_robustinterp.run.pipeline import measured_changes, prepare, vote

Row = dict[str, Any]

TARGET = 1
SEED = 20261130
"""Of the noise of this study, which no settings were chosen with."""
NAMED_CLAIM = (("JPEG quality", 75), ("brighter by", 0.02), ("darker by", 0.02))
"""Changes that the claim on the lungs is to cover, where they apply."""
_TRUTHS = ("boxes", "polygons")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """A bundle with settings.

    Attributes:
        label: on the page.
        bundle: name or folder.
        overrides: of its configuration.
    """

    label: str
    bundle: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)


@functools.cache
def loaded(contender: Contender, *, n_samples: int, target: int | str = TARGET) -> SaliencyBundle:
    """A contender's bundle, for the opacity or another target, whatever the network says; loaded once."""
    fixed = {"n_samples": n_samples, "seed": SEED, "target": target, "lungs": "chest_xray_lung_fields"}
    on_cpu = {"device": "$torch.device('cpu')", "batch_size": 16}
    return load_bundle(contender.bundle, overrides={**contender.overrides, **fixed, **on_cpu})


def film_row(contender: Contender, film: MarkedFilm, *, n_samples: int) -> Row:
    """Certificate and places of one film."""
    bundle = loaded(contender, n_samples=n_samples)
    ready = prepare(film.path, bundle)
    recipe, claim = bundle.inferer.recipe, bundle.inferer.claim
    measured = measured_changes(ready, bundle, NAMED, noise=recipe.noise, seed=recipe.seed)
    votes, spec = vote(ready, bundle)
    certificate = certify_votes(votes, spec, beta=claim.beta, eta=claim.eta)
    both = min(certificate.l_max, certificate.label.l2)
    entries = applied(ledger_record(measured, both, spec))
    row: Row = {
        "film": film.path.stem,
        "patient": film.patient,
        "map": certificate.l_max,
        "label": certificate.label.l2,
        "both": both,
        "ceiling_share": certificate.ceiling_share,
        "covered": sum(entry["covered"] for entry in entries),
        "tested": len(entries),
        "kept": votes.label_agreement,
        "cells": np.flatnonzero(votes.top_k_mask).tolist(),
    }
    lungs = votes.regions[-1].cells.astype(np.float64) if votes.regions else None
    for truth in _TRUTHS:
        row |= _place(truth, film.cells(truth, votes.counts.shape[0]), votes.top_k_mask, votes.counts, lungs)
    if lungs is not None:
        (statement,) = region_statements(votes, spec, eta=claim.eta, l2=certificate.l_max)
        named = [change for change in measured if (change.name, change.value) in NAMED_CLAIM]
        by_mean = max(0.0, float(ndtri(statement["share_lower"])))
        row |= {
            "lungs": float(lungs.mean()),
            "votes_in_lungs": statement["observed"],
            "cells_in_lungs": share_marked(votes.top_k_mask, lungs),
            "claim_radius": statement["radius_above_half"]["in_noise"],
            "claimed": _claimed(statement["radius_above_half"]["l2"], spec.sigma, named),
            "claim_radius_by_mean": by_mean,
            "claimed_by_mean": _claimed(by_mean * spec.sigma, spec.sigma, named),
            "alarm": statement["alarm"],
        }
    return row


def _claimed(l2: float, sigma: float, changes: Sequence[MeasuredChange]) -> bool:
    """Whether a radius covers all of these changes."""
    radius = radius_in_noise(l2, sigma)
    return radius > 0 and all(covers(radius, norm) for change in changes for norm in change.norms)


def _place(
    truth: str,
    marked: npt.NDArray[np.float64] | None,
    top_k: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.int64],
    lungs: npt.NDArray[np.float64] | None,
) -> Row:
    """How many times more of the cells are marked than by chance, of the map and of one that marks the lungs."""
    if marked is None or not marked.any():
        return {truth: None, f"blind_{truth}": None, f"points_{truth}": None}
    blind = None if lungs is None else enrichment(lungs, marked)
    return {
        truth: enrichment(top_k, marked),
        f"blind_{truth}": blind,
        f"points_{truth}": strongest_cell_marked(counts, marked),
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Medians of radii, means of the rest, with 95 % bootstrap intervals by patient where several films have it."""
    names = [f"{kind}{truth}" for truth in _TRUTHS for kind in ("", "blind_", "points_")]
    names += ["votes_in_lungs", "cells_in_lungs", "claimed", "claimed_by_mean", "alarm", "kept"]
    return {
        "films": len(rows),
        **{name: statistics.median(row[name] for row in rows) for name in ("map", "label", "both", "ceiling_share")},
        "covered": statistics.median(row["covered"] for row in rows),
        "tested": statistics.median(row["tested"] for row in rows),
        "shared": mean_pairwise_overlap([frozenset(row["cells"]) for row in rows]),
        "median_in_lungs": _median(rows, "cells_in_lungs"),
        **{name: _interval(rows, name) for name in names},
    }


def _median(rows: Sequence[Row], name: str) -> float | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    return statistics.median(values) if values else None


def _interval(rows: Sequence[Row], name: str) -> tuple[float, float, float] | None:
    known = [row for row in rows if row.get(name) is not None]
    if len({row["patient"] for row in known}) < 2:
        return None
    found = bootstrap_interval(
        lambda values: float(np.mean(values)),
        [row["patient"] for row in known],
        np.array([float(row[name]) for row in known]),
    )
    return found.value, found.low, found.high
