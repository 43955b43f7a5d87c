"""Many images: each gets a folder of its own, what is refused is recorded with its reason, and the rest goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.geometry.changes import NAMED, Change
from monai_robustinterp.geometry.regions import RegionSource
from monai_robustinterp.io.write.options import DEFAULT_OPTIONS, OutputOptions
from monai_robustinterp.io.write.outputs import check_source
from monai_robustinterp.run.against import read_other
from monai_robustinterp.run.every_finding import EveryFinding
from monai_robustinterp.run.inputs import find_images
from monai_robustinterp.run.lists import SUMMARY, CohortSummary, ImageResult, Lists
from monai_robustinterp.run.lock import output_folder
from monai_robustinterp.run.read_ahead import ImageRun, ReadAhead
from monai_robustinterp.run.rows import rows
from monai_robustinterp.run.work import OneTarget


def certify_cohort(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    *,
    bundle: SaliencyBundle,
    regions: Sequence[RegionSource] = (),
    changes: Sequence[Change] = NAMED,
    against: str | Path | None = None,
    every_finding: bool = False,
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
        every_finding: certify every finding of each image in place of the bundle's target, as
            :func:`~monai_robustinterp.run.every_finding.certify_findings` does. An image without findings is a result
            that says so.
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
            view = found.views.get(image.path, "")
            results = [replace(one, view=view) for one in rows(image, before=lists.first - 1, other=other)]
            summary.results += results
            # Once where the same file was given twice.
            if image.results is not None and results[0].folder:
                for record, votes in zip(image.results.records, image.results.votes):
                    summary.reported.add(votes, target=record["spec"]["target"])
            others = results[0].kept or (not results[0].folder and not image.same_as)
            if image.folder and others and (output / image.folder).is_dir():
                lists.earlier[image.folder] = str(image.path.absolute())
            if lists_are_due(len(summary.results)):
                lists.write()

        work = (EveryFinding if every_finding else OneTarget)(bundle=bundle, changes=changes, options=options)
        run = ReadAhead(
            bundle=bundle,
            regions=regions,
            changes=changes,
            output=output,
            overwrite=overwrite,
            admit=lambda ready: check_source(ready.image.meta, options),
            work=work,
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


def lists_are_due(results: int) -> bool:
    """After each image, later after each hundredth part: lists that are written whole shall not cost their square."""
    return results % max(1, results // 100) == 0
