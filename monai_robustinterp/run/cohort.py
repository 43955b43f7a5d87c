"""Many images: each gets a folder of its own, what is refused is recorded with its reason, and the rest goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.geometry.regions import RegionSource
from monai_robustinterp.io.write.overlay import Reference
from monai_robustinterp.io.write.result import save as save_result
from monai_robustinterp.run.inputs import find_images
from monai_robustinterp.run.read_ahead import ImageRun, ReadAhead
from monai_robustinterp.run.reported import ReportedSets

SAME_FILM = "same film"
"""Status of a file that was there before in the same run."""

_SUMMARY, _INDEX = "summary.json", "index.json"


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One line of the summary. It names no file: ``index.json`` maps ``folder`` and ``number`` to the source.

    Attributes:
        number: position in the run, from 1.
        folder: name of the result folder; empty if refused.
        status: "refused", "same film", or the certificate's: "certified" (map and decision), "map only", "abstain", ...
        reason: why it was refused, which image is the same film, or the certificate's sentence.
        finding, score, label_agreement: see certificate.json.
        label_radius: within which the smoothed network keeps its decision on the finding; 0 is no claim.
        l_max: the certified radius of the map: the largest population one; 0 is no claim.
        ceiling: the radius of a map that ignores the image, of as many copies.
        ceiling_share: l_max as a share of it.
        rerun_radius: within which a second run reports as many of the cells; 0 is no claim.
        plug_in_renyi, plug_in_neyman_pearson, renyi, neyman_pearson: radii; the last two at the population level.
        n_samples: copies taken.
        warnings: what the reader warned of, and what is doubtful in the network's input.
        notes: what else the certificate notes: ties, constant maps.
        elapsed_s: seconds of work on it, reading and writing included. Images overlap, so these add up to more than the
            run took.
    """

    number: int
    status: str
    reason: str
    folder: str = ""
    finding: str = ""
    score: float | None = None
    label_agreement: float | None = None
    label_radius: float | None = None
    l_max: float | None = None
    ceiling: float | None = None
    ceiling_share: float | None = None
    rerun_radius: float | None = None
    plug_in_renyi: float | None = None
    plug_in_neyman_pearson: float | None = None
    renyi: float | None = None
    neyman_pearson: float | None = None
    n_samples: int | None = None
    warnings: str = ""
    notes: str = ""
    elapsed_s: float = 0.0


@dataclass
class CohortSummary:
    """Results of a run, in order.

    Attributes:
        inputs: how many inputs there are; fewer results mean that the run is not complete.
        results: one an input, in order.
        passed_over: how many files in the given folders are no films, by what they are.
        max_samples: copies at which the sampling of an image ends in any case.
        reported: the reported sets, for what different films share.
    """

    inputs: int = 0
    results: list[ImageResult] = field(default_factory=list)
    passed_over: Mapping[str, int] = field(default_factory=dict)
    max_samples: int = 0
    reported: ReportedSets = field(default_factory=ReportedSets)

    @property
    def refused(self) -> int:
        """Number of refused inputs."""
        return sum(result.status == "refused" for result in self.results)

    @property
    def saved_share(self) -> float:
        """Share of the copies that early stopping saved, over the images that are done; 0 if none is."""
        taken = [result.n_samples for result in self.results if result.n_samples]
        return 1 - sum(taken) / (self.max_samples * len(taken)) if taken else 0.0


def certify_cohort(
    inputs: Sequence[str | Path],
    output_dir: str | Path,
    *,
    bundle: SaliencyBundle,
    regions: Sequence[RegionSource] = (),
    overwrite: bool = False,
    reference: Reference | None = None,
    transfer_syntax: str = "explicit",
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
        overwrite: replace results of an earlier run of the same file.
        reference: DICOM header whose patient and study captures of other formats join.
        transfer_syntax: of the captures: "explicit", or a lossless compression: "jpeg2000", "jpegls" or "rle".
        show_progress: a progress bar on stderr.
        raise_if_refused: raise in the end, for hosts that look at nothing but the exit code.

    Returns:
        The summary; a refused input is a result with its reason and stops nothing.

    Raises:
        InputRefused: if the output is no folder, or with ``raise_if_refused``.
    """
    output = Path(output_dir)
    if output.exists() and not output.is_dir():
        raise InputRefused("the output is a file; it must be a folder, which is made if it is missing.")
    output.mkdir(parents=True, exist_ok=True)
    found = find_images(inputs)
    sources = [*found.images, *(path for path, _ in found.refused)]
    summary = CohortSummary(
        inputs=len(sources), passed_over=found.passed_over, max_samples=bundle.inferer.recipe.max_samples
    )
    kept: dict[str, str] = {}
    # At once and again and again: a folder that cannot be written fails early, and a killed run can be read.
    _write_lists(output, summary, sources, kept)

    def done(image: ImageRun) -> None:
        summary.results.append(_result(image))
        if image.result is not None:
            summary.reported.add(image.result.votes)
        if image.result is None and not image.same_as and image.folder and (output / image.folder).is_dir():
            kept[image.folder] = str(image.path.absolute())
        if lists_are_due(len(summary.results)):
            _write_lists(output, summary, sources, kept)

    save = partial(save_result, reference=reference, transfer_syntax=transfer_syntax)
    run = ReadAhead(bundle=bundle, regions=regions, output=output, overwrite=overwrite, save=save, done=done)
    try:
        run.certify(found.images, show_progress=show_progress)
        for number, (_, reason) in enumerate(found.refused, start=len(found.images) + 1):
            summary.results.append(ImageResult(number=number, status="refused", reason=reason))
    finally:
        _write_lists(output, summary, sources, kept)
    if raise_if_refused and summary.refused:
        raise InputRefused(
            f"{summary.refused} of {summary.inputs} inputs were refused, see {_SUMMARY}: the others are done."
        )
    return summary


def _result(image: ImageRun) -> ImageResult:
    result = image.result
    if result is None:
        status = SAME_FILM if image.same_as else "refused"
        return ImageResult(number=image.number, status=status, reason=image.reason, elapsed_s=image.elapsed_s)
    certificate, finding, of_input = result.certificate, result.record["finding"], result.votes.input_warnings
    return ImageResult(
        number=image.number,
        folder=image.folder,
        status=result.status.label,
        reason=certificate.sentence,
        finding=finding["name"],
        score=finding["score"],
        label_agreement=finding["label_agreement"],
        label_radius=certificate.label.l2,
        l_max=certificate.l_max,
        ceiling=certificate.ceiling,
        ceiling_share=certificate.ceiling_share,
        rerun_radius=result.record["rerun"]["l2"],
        plug_in_renyi=certificate.radius("plug-in", "renyi").l2,
        plug_in_neyman_pearson=certificate.radius("plug-in", "neyman-pearson").l2,
        renyi=certificate.radius("population", "renyi").l2,
        neyman_pearson=certificate.radius("population", "neyman-pearson").l2,
        n_samples=certificate.spec.n_samples,
        warnings="; ".join(text for text in (result.record["source"]["warnings"], *of_input) if text),
        notes=" ".join(note for note in certificate.notes if note not in of_input),
        elapsed_s=image.elapsed_s,
    )


def lists_are_due(results: int) -> bool:
    """After each image, later after each hundredth part: lists that are written whole shall not cost their square."""
    return results % max(1, results // 100) == 0


def _write_lists(output: Path, summary: CohortSummary, sources: Sequence[Path], kept: Mapping[str, str]) -> None:
    """Writes the summary and the index; ``kept`` maps folders of earlier runs to their sources."""
    certified, same = (
        sum(result.status == status for result in summary.results) for status in ("certified", SAME_FILM)
    )
    totals = {
        "inputs": summary.inputs,
        "complete": len(summary.results) == summary.inputs,
        "certified": certified,
        "abstained": len(summary.results) - certified - same - summary.refused,
        "refused": summary.refused,
        "same_film": same,
        "ignored_files": sum(summary.passed_over.values()),
        "passed_over": dict(summary.passed_over),
        "max_samples": summary.max_samples,
        "saved_share": summary.saved_share,
    }
    content = {
        "totals": totals,
        "results": [_finite(asdict(result)) for result in summary.results],
        "shared_between_images": summary.reported.shared(),
    }
    # Read first: a damaged index must not cost the earlier summary.
    index = _read_index(output)
    atomic_write(output / _SUMMARY, lambda file: file.write(json_bytes(content)), overwrite=True)
    paths = {result.number: str(sources[result.number - 1].absolute()) for result in summary.results}
    made = {result.folder: paths[result.number] for result in summary.results if result.folder}
    # A run that was killed may have left results that its index does not have.
    index["folders"] = {**kept, **index["folders"], **made}
    index["last_run"] = {str(number): path for number, path in paths.items()}
    atomic_write(output / _INDEX, lambda file: file.write(json_bytes(index)), overwrite=True)


def _read_index(output: Path) -> dict[str, Any]:
    """The index of earlier runs into the same folder, which must not lose its entries."""
    path = output / _INDEX
    if not path.exists():
        return {"folders": {}, "last_run": {}}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return {"folders": dict(index["folders"]), "last_run": {}}
    except (ValueError, KeyError, TypeError) as error:
        raise InputRefused(
            f"{_INDEX} in the output folder is damaged: move it away, or choose another folder."
        ) from error


def _finite(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: "Infinity" if value == float("inf") else value for key, value in entry.items()}
