"""A record replayed: the image preprocessed again, the copies redrawn, counts and logits compared with the stored ones.

On the machine that recorded it a replay gives the same bits. Elsewhere round-off moves single votes of single copies.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.certificates.ledger import change_label
from monai_robustinterp.certificates.region import is_lungs
from monai_robustinterp.geometry.changes import NAMED
from monai_robustinterp.geometry.native import native_scale
from monai_robustinterp.inferers import CertifiedSaliencyInferer
from monai_robustinterp.interpreters import make_interpreter
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.networks.provenance import network_sha256
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.noise.shape import noise_of_spec
from monai_robustinterp.run.pipeline import Prepared, measured_changes, prepare
from monai_robustinterp.smoothing.recipe import Progress
from monai_robustinterp.types import SmoothingSpec, VoteMap

MOST_DIFFERENT = 0.005
"""Share of the votes, and of the copies that find the target, that may differ on another machine."""

MOST_NOTED = 0.05
"""Share of the copies with a tie or a constant map that may: round-off makes and breaks ties; only notes tell these."""

NORM_TOLERANCE = 1e-4
"""Relative difference of the norm of a change that may: of another JPEG library, or other round-off."""

LOGIT_TOLERANCE = {"float32": 1e-3, "tf32": 5e-3, "bfloat16": 5e-2}
"""Difference of a clean logit that may, in units of max(1, largest logit): some ten round-offs of the coarser two."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        differences: what contradicts the record, one sentence each; empty if the replay confirms it.
        equal: whether counts, logits and all other stored arrays are equal bit for bit.
        n_different: votes that differ; 0 if nothing was redrawn.
        n_votes: votes that were redrawn, m k; 0 if nothing was.
        l_max: certified radius of the replayed counts at the record's beta and eta; None if nothing was redrawn.
        not_replayed: what was taken from the files as it stands, one sentence each.
    """

    differences: tuple[str, ...]
    equal: bool = False
    n_different: int = 0
    n_votes: int = 0
    l_max: float | None = None
    not_replayed: tuple[str, ...] = ()

    @property
    def confirmed(self) -> bool:
        """Whether nothing contradicts the record."""
        return not self.differences


def replay(
    record: Mapping[str, Any],
    votes: VoteMap,
    spec: SmoothingSpec,
    *,
    source: str | Path,
    bundle: SaliencyBundle,
    progress: Progress | None = None,
) -> ReplayReport:
    """Takes the votes of a record anew, from its image and its network, and compares.

    Where image, preprocessing or network are other ones, no copy is drawn.

    Args:
        record: content of certificate.json, verified (:func:`monai_robustinterp.audit.verify`).
        votes: of the vote file that it was verified with.
        spec: of that file.
        source: the image file.
        bundle: the network and its preprocessing; of its settings only the batch size may be used.
        progress: called with the number of noisy copies just done.

    Raises:
        InputRefused: if the file is no image that can be certified.
        ValueError: if the settings are none that the bundle's network can be smoothed with.
    """
    other = [*_other_network(record, spec, bundle)]
    if other:
        return ReplayReport(differences=tuple(other))
    inferer = _inferer(record, votes, spec, bundle)
    prepared = prepare(source, bundle, cell_size=spec.cell_size)
    other = [
        *_other_image(record, votes, prepared, bundle),
        *_other_ledger(record, spec, prepared, bundle),
        *_other_finding(record, votes, spec, bundle),
        *_other_lungs(record, votes, prepared),
    ]
    if other:
        return ReplayReport(differences=tuple(other))
    again, its_spec = inferer.vote(prepared.image, bundle.network, progress, regions=votes.regions)
    # Where memory ended a batch was halved.
    if dataclasses.replace(its_spec, batch_size=spec.batch_size) != spec:
        return ReplayReport(differences=("the settings, or the copies at which sampling ends, are other ones.",))
    return ReplayReport(
        differences=tuple(_other_votes(votes, again, spec.precision)),
        equal=_equal(votes, again),
        n_different=different_votes(votes, again),
        n_votes=votes.n_samples * votes.top_k,
        l_max=certify_votes(again, spec, beta=inferer.claim.beta, eta=inferer.claim.eta).l_max,
        not_replayed=_not_replayed(record, votes, spec),
    )


def different_votes(first: VoteMap, second: VoteMap) -> int:
    """Votes that must be moved between cells to turn the counts of one map into those of another of as many votes."""
    return int(np.abs(first.counts - second.counts).sum()) // 2


def _inferer(
    record: Mapping[str, Any], votes: VoteMap, spec: SmoothingSpec, bundle: SaliencyBundle
) -> CertifiedSaliencyInferer:
    findings, looks = bundle.inferer.recipe.findings, spec.looks or (spec.n_samples,)
    return CertifiedSaliencyInferer(
        interpreter=make_interpreter(
            spec.interpreter, known=bundle.interpreter_arguments, settings=spec.interpreter_settings
        ),
        sigma=spec.sigma,
        brightness=spec.brightness,
        tilt=spec.tilt,
        n_samples=looks[0],
        until_radius=float(record["sampling"]["until_radius"]) if spec.looks else None,
        max_samples=looks[-1],
        pairs=votes.pair_counts is not None,
        top_k=spec.top_k,
        cell_size=spec.cell_size,
        beta=record["claim"]["beta"],
        eta=record["claim"]["eta"],
        target=spec.target,
        class_names=findings.names,
        activation=findings.activation,
        misses=findings.misses,
        seed=spec.seed,
        precision=spec.precision,
        denoiser=bundle.inferer.recipe.denoiser if spec.denoiser else None,
        denoiser_gradient=spec.denoiser.get("gradient", "at"),
        batch_size=spec.batch_size or bundle.inferer.recipe.batch_size,
        expected=bundle.inferer.recipe.expected,
    )


def _other_network(record: Mapping[str, Any], spec: SmoothingSpec, bundle: SaliencyBundle) -> Iterator[str]:
    denoiser = bundle.inferer.recipe.denoiser
    if spec.denoiser and (denoiser is None or spec.denoiser != {**denoiser.settings, **_gradient(spec)}):
        # One of a recorded name is never loaded: a denoiser can be code.
        yield "spec.denoiser is not the denoiser of the bundle: give the one of the record with --denoiser."
    lungs = record.get("lungs")
    if lungs and (bundle.lungs is None or not bundle.lungs.settings.items() <= lungs.items()):
        yield "lungs is not the segmenter of the bundle: give the one of the record with --lungs."
    recorded = record["provenance"]
    for name, value in {"network_sha256": network_sha256(bundle.network), **bundle.files}.items():
        # A network that did not come from a file has no hash of one.
        if name in recorded and recorded[name] != value:
            yield f"provenance.{name} is not that of the bundle."


def _gradient(spec: SmoothingSpec) -> dict[str, Any]:
    return {"gradient": spec.denoiser.get("gradient")}


def _other_image(
    record: Mapping[str, Any], votes: VoteMap, prepared: Prepared, bundle: SaliencyBundle
) -> Iterator[str]:
    for name, value in source_record(prepared.image.meta, votes.input_shape).items():
        if record["source"].get(name) != value:
            yield f"source.{name} is not that of the image file."
    if (votes.image_sha256, *votes.input_shape) != (image_sha256(prepared.image), *prepared.image.shape[-2:]):
        yield "votes.image_sha256 is not that of the network's input that is made of the image file."
    scale = native_scale(bundle.preprocessing, prepared.image.meta, votes.input_shape)
    recorded = record["native"]
    factors = ((recorded["slope"], scale.slope), (recorded["rho"], scale.rho))
    if recorded["reason"] != scale.reason or not all(_close(stated, found) for stated, found in factors):
        yield "native is not that of the image file and the preprocessing."


def _other_ledger(
    record: Mapping[str, Any], spec: SmoothingSpec, prepared: Prepared, bundle: SaliencyBundle
) -> Iterator[str]:
    """Named changes of the ledger that are measured otherwise; those of a user cannot be measured again."""
    known = {(change.name, change.value): change for change in NAMED}
    recorded = [entry for entry in record.get("ledger", []) if (entry["change"], entry["value"]) in known]
    changes = [known[entry["change"], entry["value"]] for entry in recorded]
    noise = noise_of_spec(spec)
    for entry, again in zip(recorded, measured_changes(prepared, bundle, changes, noise=noise, seed=spec.seed)):
        norms = entry["draws"]["norms"] if entry["draws"] else [entry["norm"]] if entry["norm"] is not None else []
        close = [math.isclose(*pair, rel_tol=NORM_TOLERANCE) for pair in zip(norms, again.norms)]
        if len(norms) != len(again.norms) or not all(close) or entry["reason"] != again.reason:
            yield f"ledger: {change_label(again.name, again.value)} is measured otherwise on the image file."


def _other_lungs(record: Mapping[str, Any], votes: VoteMap, prepared: Prepared) -> Iterator[str]:
    """Lungs that are drawn otherwise by the recorded segmenter, by more cells than another machine explains."""
    if "lungs" not in record:
        return
    stored, again = (next(filter(is_lungs, regions), None) for regions in (votes.regions, prepared.regions))
    if stored is None or again is None:
        if (stored is None) != (again is None):
            yield "lungs.failure is not that of the segmenter on the image file."
    elif (different := int((stored.cells != again.cells).sum())) > MOST_DIFFERENT * stored.cells.size:
        yield f"{different} of {stored.cells.size} cells of the lungs differ; at most {MOST_DIFFERENT:.1%} may."


def _other_finding(
    record: Mapping[str, Any], votes: VoteMap, spec: SmoothingSpec, bundle: SaliencyBundle
) -> Iterator[str]:
    findings, finding = bundle.inferer.recipe.findings, record["finding"]
    if finding["name"] != findings.name(spec.target):
        yield "finding.name is not that of the bundle for this target."
    if finding["misses"] != findings.misses.get(finding["name"], ""):
        yield "finding.misses is not what the bundle says of this target."
    if not _close(finding["score"], findings.score(votes.logits, spec.target)):
        yield f"finding.score is not the {findings.activation} of the stored logits."


def _close(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return math.isclose(first, second, rel_tol=1e-9)


def _other_votes(stored: VoteMap, again: VoteMap, precision: str) -> Iterator[str]:
    """What differs by more than another machine explains."""
    m, k = stored.n_samples, stored.top_k
    votes = different_votes(stored, again)
    if votes > MOST_DIFFERENT * m * k:
        yield f"{votes} of {m * k} votes differ ({votes / (m * k):.2%}); at most {MOST_DIFFERENT:.1%} may."
    kinds = {"found_copies": MOST_DIFFERENT, "tied_copies": MOST_NOTED, "constant_copies": MOST_NOTED}
    for name, most in kinds.items():
        copies = abs(getattr(stored, name) - getattr(again, name))
        if copies > most * m:
            yield f"{name} differs by {copies} of {m} copies; at most {most:.1%} may."
    largest = max(1.0, float(np.abs(again.logits).max()))
    same_form = stored.logits.shape == again.logits.shape
    if not same_form or np.abs(stored.logits - again.logits).max() > LOGIT_TOLERANCE[precision] * largest:
        yield "the logits of the clean image are other ones."
    if stored.decision != again.decision:
        yield "the decision on the clean image is the opposite."
    if stored.input_warnings != again.input_warnings:
        yield "the warnings of the network's input are other ones."
    if stored.pair_counts is not None and again.pair_counts is not None:
        # A vote that is moved changes k - 1 of the k (k - 1) / 2 pairs of its copy: twice its share of the votes.
        pairs = int(np.abs(np.triu(stored.pair_counts - again.pair_counts, 1)).sum()) // 2
        if pairs > MOST_DIFFERENT * m * k * (k - 1):
            yield f"{pairs} of {m * k * (k - 1) // 2} pairs of votes differ; at most {2 * MOST_DIFFERENT:.1%} may."
    if stored.region_hits is not None and again.region_hits is not None:
        moved = np.abs(np.cumsum(stored.region_hits - again.region_hits, axis=1)).sum(axis=1).max()
        if moved > MOST_DIFFERENT * m * k:
            yield f"the hits of a region differ by {moved} of {m * k} votes; at most {MOST_DIFFERENT:.1%} may."


def _equal(stored: VoteMap, again: VoteMap) -> bool:
    """Whether all that was counted is the same; regions are the stored ones in both."""
    names = [field.name for field in dataclasses.fields(VoteMap) if field.name != "regions"]
    return all(np.array_equal(getattr(stored, name), getattr(again, name)) for name in names)


def _not_replayed(record: Mapping[str, Any], votes: VoteMap, spec: SmoothingSpec) -> tuple[str, ...]:
    sentences = []
    if "ledger" in record:
        listed, named = {(e["change"], e["value"]) for e in record["ledger"]}, {(c.name, c.value) for c in NAMED}
        if listed - named:
            sentences.append(f"the {len(listed - named)} changes of the ledger that are a user's own")
        if named - listed:
            sentences.append(f"the {len(named - listed)} named changes that the ledger leaves out")
    if not all(is_lungs(region) and "lungs" in record for region in votes.regions):
        sentences.append("that the cells of the given regions are those of their names; their hits are replayed")
    if spec.looks:
        sentences.append("that the looks and the wanted radius were fixed before the first copy")
    return tuple(sentences)
