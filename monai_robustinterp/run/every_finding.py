"""Every finding of an image certified, from the same noisy copies: results, one record of them, and what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from monai_robustinterp.audit import AuditError, read_record
from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.findings import (
    FINDINGS_FORMAT,
    CertifiedFindings,
    findings_record,
    found_folders,
)
from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import sealed
from monai_robustinterp.geometry.changes import NAMED, Change
from monai_robustinterp.geometry.regions import RegionSource
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.io.write.findings import (
    FINDINGS_NAME,
    missing_report,
    of_each,
    other_report,
    save_findings,
    save_report,
)
from monai_robustinterp.io.write.options import OutputOptions
from monai_robustinterp.io.write.result import CERTIFICATE_NAME
from monai_robustinterp.networks.provenance import provenance
from monai_robustinterp.noise.counter import image_sha256
from monai_robustinterp.run.kept import ADVICE, earlier_runs, kept_result, other_inputs, other_values
from monai_robustinterp.run.pipeline import Prepared, finish, measured_changes, prepare
from monai_robustinterp.run.work import Part, Results, Taken
from monai_robustinterp.smoothing.case import single_channel
from monai_robustinterp.smoothing.recipe import Progress


def certify_findings(
    source: str | Path,
    bundle: SaliencyBundle,
    progress: Progress | None = None,
    *,
    regions: Sequence[RegionSource] = (),
    changes: Sequence[Change] = NAMED,
) -> CertifiedFindings:
    """Certified saliency of every finding of one image file.

    A finding is one whose logit is above 0, or of exclusive classes the one with the largest. All are voted for by the
    same noisy copies. eta is split over them in equal parts, so that each kind of claim holds for all of them together
    with probability >= 1 - eta.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: the classifier and how to certify it; its target is not used.
        progress: called with the number of noisy copies just done.
        regions: see :func:`~monai_robustinterp.run.pipeline.certify_image`.
        changes: as there.

    Raises:
        InputRefused: as there.
    """
    prepared, recipe = prepare(source, bundle, regions=regions, changes=changes), bundle.inferer.recipe
    measured = measured_changes(prepared, bundle, changes, noise=recipe.noise, seed=recipe.seed)
    return finished(take_findings(prepared, bundle, progress), bundle, changes=measured)


def take_findings(
    prepared: Prepared, bundle: SaliencyBundle, progress: Progress | None = None, *, replaced: Path | None = None
) -> Taken:
    """Takes the votes of every finding of a prepared image.

    Args:
        prepared: the image.
        bundle: see :func:`certify_findings`.
        progress: as there.
        replaced: a folder of the same file that is to be replaced.
    """
    found = bundle.inferer.recipe.found(prepared.image, bundle.network)
    if not found.targets:
        return Taken(prepared=prepared, parts=(), found=found)
    bundles = _bundles(bundle, found.targets)
    # Read before the noise: what it replaces is gone afterwards.
    earlier = [() if replaced is None else earlier_runs(replaced, prepared, bundle=one) for one in bundles]
    votes = bundle.inferer.vote_each(
        prepared.image,
        bundle.network,
        found.targets,
        progress,
        regions=prepared.regions,
        until_radius=prepared.until_radius,
    )
    parts = [
        Part(prepared=replace(prepared, earlier=runs), bundle=one, votes=counts, spec=spec)
        for runs, one, (counts, spec) in zip(earlier, bundles, votes)
    ]
    return Taken(prepared=prepared, parts=tuple(parts), found=found)


def _bundles(bundle: SaliencyBundle, targets: Sequence[int]) -> list[SaliencyBundle]:
    """The bundle of each finding: with its target, and its part of eta."""
    return [bundle.with_inferer(inferer) for inferer in bundle.inferer.of_each(targets)]


def finished(votes: Taken, bundle: SaliencyBundle, *, changes: Sequence[MeasuredChange] = ()) -> CertifiedFindings:
    """Results of the votes of every finding, and their record.

    Args:
        votes: of :func:`take_findings`.
        bundle: that they were taken with.
        changes: of the source image, for the ledger.
    """
    assert votes.found is not None
    results = [
        finish(part.prepared, part.bundle, votes=part.votes, spec=part.spec, changes=changes) for part in votes.parts
    ]
    findings, logits = bundle.inferer.recipe.findings, votes.found.logits
    record = findings_record(
        results,
        names=[findings.name(target) for target in range(len(logits))],
        scores=findings.scores(logits).tolist(),
        logits=logits.tolist(),
        eta=bundle.inferer.claim.eta,
        origin=_origin(votes.prepared, bundle) | {"notes": list(votes.found.input_warnings)},
    )
    return CertifiedFindings(results=tuple(results), record=record, meta=dict(votes.prepared.image.meta))


def _origin(prepared: Prepared, bundle: SaliencyBundle) -> dict[str, Any]:
    """What the findings follow from."""
    clean = single_channel(prepared.image)
    return {
        "source": source_record(prepared.image.meta, tuple(clean.shape[-2:])),
        "provenance": provenance(bundle.network, prepared.image, bundle.files),
        "image_sha256": image_sha256(clean),
        "precision": bundle.inferer.recipe.precision,
    }


@dataclass(frozen=True, kw_only=True)
class EveryFinding:
    """Certifies every finding of each image (:class:`~monai_robustinterp.run.work.Work`).

    Attributes:
        bundle: the classifier and how to certify it.
        changes: of every image, which the ledger tells of.
        options: how results are written.
    """

    bundle: SaliencyBundle
    changes: Sequence[Change]
    options: OutputOptions

    def vote(self, ready: Prepared, progress: Progress, *, replaced: Path | None) -> Taken:
        """See :class:`~monai_robustinterp.run.work.Work`."""
        return take_findings(ready, self.bundle, progress, replaced=replaced)

    def write(self, taken: Taken, folder: Path, changes: Sequence[MeasuredChange]) -> Results:
        """See :class:`~monai_robustinterp.run.work.Work`."""
        found = finished(taken, self.bundle, changes=changes)
        save_findings(found, folder, self.options)
        return Results(
            records=tuple(result.record for result in found.results),
            votes=tuple(part.votes for part in taken.parts),
            findings=found.record,
        )

    def keep(self, folder: Path, ready: Prepared) -> Results:
        """See :class:`~monai_robustinterp.run.work.Work`."""
        record = _read(folder)
        logits = np.array([one["logit"] for one in record["findings"]], np.float32)
        targets = self.bundle.inferer.recipe.findings.found(logits)
        differences = [
            *_differences(record, ready, self.bundle, targets),
            *other_report(folder, ready.image.meta, record, self.options),
        ]
        if differences:
            raise InputRefused(
                f"results of this file exist in {folder.name} and were made otherwise ({'; '.join(differences)}): "
                f"{ADVICE}"
            )
        bundles, options = _bundles(self.bundle, targets), of_each(self.options)
        kept = [
            kept_result(folder / name, ready, bundle=bundle, changes=self.changes, options=options)
            for name, bundle in zip(found_folders(record), bundles)
        ]
        hashes = [one["certificate_sha256"] for one in record["findings"] if one["found"]]
        if [one.record["content_sha256"] for one in kept] != hashes:
            raise InputRefused(f"the findings of this file in {folder.name} are not of one run: {ADVICE}")
        if missing_report(folder, self.options):
            save_report(folder, record, [one.record for one in kept], ready.image.meta, self.options)
        return Results(
            records=tuple(one.record for one in kept), votes=tuple(one.votes for one in kept), findings=record
        )


def _differences(
    record: Mapping[str, Any], ready: Prepared, bundle: SaliencyBundle, targets: Sequence[int]
) -> list[str]:
    """What this run would do otherwise with the image as a whole, one phrase each."""
    there = {
        "eta": record["eta"],
        "precision": record["precision"],
        "findings": [one["target"] for one in record["findings"] if one["found"]],
    }
    here = {"eta": bundle.inferer.claim.eta, "precision": bundle.inferer.recipe.precision, "findings": list(targets)}
    return [*other_values(there, here), *other_inputs(record, record["image_sha256"], ready, bundle)]


def _read(folder: Path) -> dict[str, Any]:
    """Content of findings.json.

    Raises:
        InputRefused: if there is none, or it is not whole.
    """
    if (folder / CERTIFICATE_NAME).exists():
        raise InputRefused(
            f"results of this file exist in {folder.name} and are of one target, not of every finding: {ADVICE}"
        )
    try:
        record = read_record(folder / FINDINGS_NAME)
        unsealed = {key: value for key, value in record.items() if key != "content_sha256"}
        if sealed(unsealed) != record or record["format"] != FINDINGS_FORMAT:
            raise ValueError
    except (AuditError, ValueError, KeyError, TypeError, OSError):
        raise InputRefused(
            f"results of this file exist in {folder.name} and are of an earlier format, not whole or were changed: "
            f"{ADVICE}"
        ) from None
    return record
