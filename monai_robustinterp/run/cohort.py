"""Many images: each gets a folder of its own, what is refused is recorded with its reason, and the rest goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.ledger import applied, reached
from monai_robustinterp.certificates.serialize import certificate_from_json
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.changes import NAMED, Change
from monai_robustinterp.geometry.regions import RegionSource
from monai_robustinterp.io.write.options import DEFAULT_OPTIONS, OutputOptions
from monai_robustinterp.io.write.outputs import check_source
from monai_robustinterp.io.write.result import save as save_result
from monai_robustinterp.run.against import OtherImage, read_other
from monai_robustinterp.run.inputs import find_images
from monai_robustinterp.run.kept import earlier_runs, kept_result
from monai_robustinterp.run.lists import SAME_FILM, SUMMARY, CohortSummary, ImageResult, Lists
from monai_robustinterp.run.lock import output_folder
from monai_robustinterp.run.read_ahead import ImageRun, ReadAhead


def certify_cohort(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    *,
    bundle: SaliencyBundle,
    regions: Sequence[RegionSource] = (),
    changes: Sequence[Change] = NAMED,
    against: str | Path | None = None,
    overwrite: bool = False,
    options: OutputOptions = DEFAULT_OPTIONS,
    show_progress: bool = True,
    raise_if_refused: bool = False,
) -> CohortSummary:
    """Certifies every image of ``inputs`` into a folder of ``output_dir``; writes summary.json and index.json.

    While the network works on an image the next one is read and those before are written
    (:mod:`~monai_robustinterp.run.read_ahead`); each result is that of
    :func:`~monai_robustinterp.run.pipeline.certify_image`.

    Args:
        inputs: image files and folders.
        output_dir: made if missing.
        bundle: the classifier and how to certify it.
        regions: of every image, whose share of the votes is certified.
        changes: of every image, which the ledger tells of.
        against: another image file, of which the results say whether the claim covers it.
        overwrite: replace results of an earlier run of the same file. Otherwise such a result is kept and counted if
            this run would make the same one, and the image is refused if not. Where a replaced result did not certify
            the image and was made with other settings, the new record names it under ``selection``.
        options: which outputs, and how they are written; outputs that a kept result lacks are added.
        show_progress: a progress bar on stderr.
        raise_if_refused: raise in the end, for hosts that look at nothing but the exit code.

    Returns:
        The summary; a refused input is a result with its reason and stops nothing.

    Raises:
        InputRefused: if the output is no folder, or with ``raise_if_refused``.
    """
    other = None if against is None else read_other(against, bundle)
    output = _folder(Path(output_dir))
    found = find_images(inputs)
    sources = [*found.images, *(path for path, _ in found.refused)]
    summary = CohortSummary(
        inputs=len(sources), passed_over=found.passed_over, max_samples=bundle.inferer.recipe.max_samples
    )
    with output_folder(output) as folder:
        lists = Lists(output, folder, summary, sources)
        # At once and again and again: a folder that cannot be written fails early, and a killed run can be read.
        lists.begin()

        def done(image: ImageRun) -> None:
            result = _result(image, before=lists.first - 1, other=other)
            result = replace(result, view=found.views.get(image.path, ""))
            summary.results.append(result)
            # Once where the same file was given twice.
            if image.votes is not None and result.folder:
                summary.reported.add(image.votes[0])
            others = result.kept or (not result.folder and not image.same_as)
            if image.folder and others and (output / image.folder).is_dir():
                lists.earlier[image.folder] = str(image.path.absolute())
            if lists_are_due(len(summary.results)):
                lists.write()

        run = ReadAhead(
            bundle=bundle,
            regions=regions,
            changes=changes,
            output=output,
            overwrite=overwrite,
            admit=lambda ready: check_source(ready.image.meta, options),
            save=partial(save_result, options=options),
            keep=partial(kept_result, bundle=bundle, changes=changes, options=options),
            earlier=partial(earlier_runs, bundle=bundle),
            done=done,
        )
        try:
            run.certify(found.images, show_progress=show_progress)
            for number, (_, reason) in enumerate(found.refused, start=lists.first + len(found.images)):
                summary.results.append(ImageResult(number=number, status="refused", reason=reason))
        finally:
            lists.write()
    if raise_if_refused and summary.refused:
        raise InputRefused(
            f"{summary.refused} of {summary.inputs} inputs were refused, see {SUMMARY}: the others are done."
        )
    return summary


def _folder(output: Path) -> Path:
    if output.exists() and not output.is_dir():
        raise InputRefused("the output is a file; it must be a folder, which is made if it is missing.")
    return output


def _result(image: ImageRun, *, before: int, other: OtherImage | None) -> ImageResult:
    number, record = before + image.number, image.record
    if image.same_as:
        reason = f"the same film as {before + image.same_as}."
        return ImageResult(number=number, status=SAME_FILM, reason=reason, elapsed_s=image.elapsed_s)
    if record is None or image.votes is None:
        return ImageResult(number=number, status="refused", reason=image.reason, elapsed_s=image.elapsed_s)
    certificate, finding, of_input = certificate_from_json(record), record["finding"], image.votes[0].input_warnings
    ledger = record.get("ledger", [])
    return ImageResult(
        number=number,
        folder=image.folder,
        status=certificate.status.label,
        kept=image.kept,
        reason=certificate.sentence,
        finding=finding["name"],
        score=finding["score"],
        label_agreement=finding["label_agreement"],
        label_radius=certificate.label.l2,
        l_max=certificate.l_max,
        ceiling=certificate.ceiling,
        ceiling_share=certificate.ceiling_share,
        rerun_radius=record["rerun"]["l2"],
        covered_changes=sum(entry["covered"] for entry in ledger),
        tested_changes=len(applied(ledger)),
        reached_changes=tuple(reached(ledger)),
        **_of_the_lungs(record),
        against=other.compared(certificate, image.prepared.image) if other and image.prepared else "",
        plug_in_renyi=certificate.radius("plug-in", "renyi").l2,
        plug_in_neyman_pearson=certificate.radius("plug-in", "neyman-pearson").l2,
        renyi=certificate.radius("population", "renyi").l2,
        neyman_pearson=certificate.radius("population", "neyman-pearson").l2,
        n_samples=certificate.spec.n_samples,
        max_samples=max(certificate.spec.looks, default=certificate.spec.n_samples),
        warnings="; ".join(text for text in (record["source"]["warnings"], *of_input) if text),
        notes=" ".join(note for note in certificate.notes if note not in of_input),
        elapsed_s=image.elapsed_s,
    )


def _of_the_lungs(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a line of the summary says of the lungs."""
    failure = {"lungs_failure": record.get("lungs", {}).get("failure") or ""}
    for entry in record.get("regions", ()):
        if "alarm" in entry:
            return failure | {
                "lungs_observed": entry["observed"],
                "lungs_at_least": entry["at_least"],
                "lungs_at_most": entry["at_most"],
                "lungs_radius": entry["radius_above_half"]["l2"],
                "alarm": entry["alarm"],
            }
    return failure


def lists_are_due(results: int) -> bool:
    """After each image, later after each hundredth part: lists that are written whole shall not cost their square."""
    return results % max(1, results // 100) == 0
