"""What is measured of a candidate: radii, ledger and place of the cells on a film, and decisions under its noise."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.defaults.films import BoxedFilm
from benchmarks.defaults.plan import Candidate
from monai_robustinterp import SaliencyBundle, VoteMap, certify_votes, load_bundle
from monai_robustinterp.certificates.ledger import applied, ledger_record
from monai_robustinterp.certificates.pairs import pair_counts
from monai_robustinterp.geometry.changes import NAMED
from monai_robustinterp.interpreters import explaining
from monai_robustinterp.metrics.classification import area_under_curve
from monai_robustinterp.metrics.enrichment import enrichment
from monai_robustinterp.metrics.pointing_game import strongest_cell_marked
from monai_robustinterp.noise.counter import CounterNoise, image_sha256
from monai_robustinterp.run.pipeline import measured_changes, prepare, vote
from monai_robustinterp.study.films import prepared
from monai_robustinterp.training.tables import LabeledImage
from monai_robustinterp.types import packed_bytes

TARGET = 1
BATCH_SIZE = 16
SEGMENTER = "chest_xray_lung_fields"
_PROTOCOL = "defaults-decisions/1"

Row = dict[str, Any]


@functools.cache
def candidate_bundle(candidate: Candidate, *, n_samples: int, seed: int) -> SaliencyBundle:
    """The candidate's bundle with its settings, for the opacity, whatever the network says; loaded once."""
    fixed = {
        "n_samples": n_samples,
        "seed": seed,
        "target": TARGET,
        "batch_size": BATCH_SIZE,
        "pairs": False,
        "lungs": SEGMENTER,
    }
    return load_bundle(candidate.bundle, overrides=candidate.overrides | fixed | {"device": "$torch.device('cpu')"})


def first_copies(votes: VoteMap, n_samples: int, *, pairs: bool = False) -> VoteMap:
    """The votes of the first copies, which are those of a shorter run without regions."""
    assert votes.copy_votes is not None and votes.copy_found is not None
    rows, c = votes.copy_votes[:n_samples], votes.counts.size
    found = np.unpackbits(votes.copy_found)[:n_samples]
    shorter = dataclasses.replace(
        votes,
        counts=np.unpackbits(rows, axis=1, count=c).sum(axis=0, dtype=np.int64).reshape(votes.counts.shape),
        n_samples=n_samples,
        found_copies=int(found.sum()),
        copy_votes=rows,
        copy_found=np.packbits(found)[: packed_bytes(n_samples)],
        tied_copies=0,
        pair_counts=None,
        constant_copies=0,
        regions=(),
        region_hits=None,
    )
    return dataclasses.replace(shorter, pair_counts=pair_counts(shorter)) if pairs else shorter


def film_rows(
    candidate: Candidate, film: BoxedFilm, sizes: Sequence[int], *, seed: int, pairs: Sequence[bool]
) -> list[Row]:
    """A row for each number of copies, without and with pairs."""
    bundle = candidate_bundle(candidate, n_samples=max(sizes), seed=seed)
    ready = prepare(film.path, bundle)
    recipe, claim = bundle.inferer.recipe, bundle.inferer.claim
    measured = measured_changes(ready, bundle, NAMED, noise=recipe.noise, seed=recipe.seed)
    start = time.process_time()
    votes, spec = vote(ready, bundle)
    seconds = (time.process_time() - start) / spec.n_samples
    boxes = film.cells(votes.counts.shape[0])
    lungs = votes.regions[-1].cells.astype(np.float64) if votes.regions else None
    rows = []
    for size in sizes:
        for paired in pairs:
            part = first_copies(votes, size, pairs=paired)
            its = dataclasses.replace(spec, n_samples=size)
            certificate = certify_votes(part, its, beta=claim.beta, eta=claim.eta)
            entries = applied(ledger_record(measured, certificate.l_max, its))
            both = min(certificate.l_max, certificate.label.l2)
            of_both = applied(ledger_record(measured, both, its))
            rows.append(
                {
                    "film": film.path.stem,
                    "m": size,
                    "pairs": paired,
                    "map": certificate.l_max,
                    "label": certificate.label.l2,
                    "both": both,
                    "ceiling_share": certificate.ceiling_share,
                    "covered": sum(entry["covered"] for entry in entries),
                    "covered_both": sum(entry["covered"] for entry in of_both),
                    "tested": len(entries),
                    "kept": part.label_agreement,
                    "enrichment": enrichment(part.top_k_mask, boxes) if boxes.any() else None,
                    "blind": enrichment(lungs, boxes) if boxes.any() and lungs is not None else None,
                    "beta": str(claim.beta),
                    "pointing": strongest_cell_marked(part.counts, boxes),
                    "cells": np.flatnonzero(part.top_k_mask).tolist(),
                    "cpu_ms": 1000 * seconds,
                }
            )
    return rows


def decisions(bundle: SaliencyBundle, items: Sequence[LabeledImage], *, draws: int) -> list[Row]:
    """Of each image its clean score, its noisy scores, and whether the noisy decisions agree with the clean one."""
    recipe, network = bundle.inferer.recipe, bundle.network
    rows = []
    with explaining(network), torch.no_grad():
        for item in items:
            clean = prepared(bundle, Path(item["image"]))
            stream = CounterNoise(seed=0, image_hash=image_sha256(clean), protocol=_PROTOCOL)
            copies = recipe.noise.copies(clean, stream, torch.arange(draws))
            denoised = copies if recipe.denoiser is None else recipe.denoiser(copies, recipe.sigma)
            own = clean[None] if recipe.denoiser is None else recipe.denoiser(clean[None], recipe.sigma)
            scores = [_scores(network(images)) for images in (clean[None], own, denoised)]
            rows.append(
                {
                    "source": item["source"],
                    "patient": item["patient"],
                    "opacity": item["opacity"],
                    "clean": scores[0][0],
                    "denoised": scores[1][0],
                    "noisy": float(np.mean(scores[2])),
                    "kept": float(np.mean([(one > 0.5) == (scores[0][0] > 0.5) for one in scores[2]])),
                }
            )
    return rows


def _scores(logits: torch.Tensor) -> list[float]:
    return [float(score) for score in logits.double().softmax(dim=1)[:, TARGET]]


def areas(rows: Sequence[Row], score: str) -> dict[str, float]:
    """Area under the curve of a score, by source."""
    return {
        source: area_under_curve(
            [row[score] for row in rows if row["source"] == source],
            [row["opacity"] == 1 for row in rows if row["source"] == source],
        )
        for source in sorted({row["source"] for row in rows})
    }
