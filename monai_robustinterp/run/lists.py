"""The two lists of an output folder: summary.json, which names no file, and index.json, which maps to the sources.

Runs that overlap in time share them: the numbers of a later one go on behind those of the earlier one, and each
replaces its own entries only. A run that begins alone begins the summary anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.run.lock import OutputFolder
from monai_robustinterp.run.reported import ReportedSets

SAME_FILM = "same film"
"""Status of a file that was there before in the same run."""

NOTHING_FOUND = "nothing found"
"""Status of an image in which the network finds nothing, where every finding was to be certified."""

RADII = {
    name: {"level": level, "unit": "l2 norm over the network's input in [0, 1]", "of": of}
    for name, level, of in (
        ("l_max", "population", "the map"),
        ("renyi", "population", "the map, by Renyi divergence"),
        ("neyman_pearson", "population", "the map, by Neyman and Pearson's lemma"),
        ("label_radius", "population", "the decision"),
        ("lungs_radius", "population", "more than half of the expected votes in the lungs"),
        ("rerun_radius", "rerun", "the reported cells of a second run; fails with probability at most twice eta"),
        ("plug_in_renyi", "plug-in", "the map, if the counts were the expected votes: no guarantee"),
        ("plug_in_neyman_pearson", "plug-in", "the map, if the counts were the expected votes: no guarantee"),
        ("ceiling", "population", "a map that ignores the image: no claim on this one"),
    )
}
"""What the radii of a summary are; each holds with probability >= 1 - ``eta`` of its line unless it says otherwise."""

SUMMARY, INDEX = "summary.json", "index.json"


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One line of the summary: an image, or a finding of it.

    It names no file: ``index.json`` maps ``folder`` and ``number`` to the source.

    Attributes:
        number: position in the run, from 1; behind those of runs that began before it and had not ended.
        folder: name of the result folder; empty if refused. Of one of several findings "FOLDER/FINDING".
        status: "refused", "same film", "nothing found", or the certificate's: "certified" (map and decision),
            "map only", "abstain", ...
        kept: whether an earlier run made the result.
        reason: why it was refused, which image is the same film, or the certificate's sentence.
        finding, score, label_agreement: see certificate.json.
        eta: failure probability of each kind of claim; see :data:`RADII`.
        label_radius: within which the smoothed network keeps its decision on the finding; 0 is no claim.
        l_max: the certified radius of the map: the largest population one; 0 is no claim.
        ceiling: the radius of a map that ignores the image, of as many copies.
        ceiling_share: l_max as a share of it.
        rerun_radius: within which a second run reports as many of the cells; 0 is no claim.
        covered_changes: changes of the ledger within l_max.
        tested_changes: those that apply to the image.
        reached_changes: of each family the strongest up to which all tested ones are covered.
        lungs_observed: share of the votes in the lungs; this and the next ones are None without a region of the lungs.
        lungs_at_least, lungs_at_most: certified within l_max.
        lungs_radius: within which more than half of the votes are expected in the lungs; 0 is no claim.
        alarm: whether most of the votes are certified to lie outside of them.
        lungs_failure: why there is no region of the lungs though one was asked for; empty if there is.
        against: whether the claim covers another image that was given, in words.
        plug_in_renyi, plug_in_neyman_pearson, renyi, neyman_pearson: radii; the last two at the population level.
        n_samples: copies taken.
        max_samples: copies at which its sampling would have ended in any case.
        warnings: what the reader warned of, and what is doubtful in the network's input.
        notes: what else the certificate notes: ties, constant maps.
        view: of a film from a folder that has several of its study, why it was chosen, and the views of the others.
        elapsed_s: seconds of work on it, reading and writing included. Images overlap, so these add up to more than the
            run took.
    """

    number: int
    status: str
    reason: str
    folder: str = ""
    kept: bool = False
    finding: str = ""
    score: float | None = None
    label_agreement: float | None = None
    eta: float | None = None
    label_radius: float | None = None
    l_max: float | None = None
    ceiling: float | None = None
    ceiling_share: float | None = None
    rerun_radius: float | None = None
    covered_changes: int = 0
    tested_changes: int = 0
    reached_changes: tuple[str, ...] = ()
    lungs_observed: float | None = None
    lungs_at_least: float | None = None
    lungs_at_most: float | None = None
    lungs_radius: float | None = None
    alarm: bool | None = None
    lungs_failure: str = ""
    against: str = ""
    plug_in_renyi: float | None = None
    plug_in_neyman_pearson: float | None = None
    renyi: float | None = None
    neyman_pearson: float | None = None
    n_samples: int | None = None
    max_samples: int | None = None
    warnings: str = ""
    notes: str = ""
    view: str = ""
    elapsed_s: float = 0.0


@dataclass
class CohortSummary:
    """Results of a run, in order.

    Attributes:
        inputs: how many inputs there are; fewer results mean that the run is not complete.
        results: one an input, or one a finding of it, in order.
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
    def kept(self) -> int:
        """Number of results of earlier runs."""
        return sum(result.kept for result in self.results)

    @property
    def saved_share(self) -> float:
        """Share of the copies that early stopping saved, over the images that are done; 0 if none is."""
        return _saved_share([asdict(result) for result in self.results])


@dataclass
class Lists:
    """Writes both lists for one run.

    Attributes:
        output: the folder.
        folder: its locks.
        summary: of this run, so far.
        sources: of this run's inputs, in order.
        earlier: folders of results that this run found, and their sources: they yield to what the index has.
        first: number of this run's first input, from 1; 0 before it has one.
    """

    output: Path
    folder: OutputFolder
    summary: CohortSummary
    sources: Sequence[Path]
    earlier: dict[str, str] = field(default_factory=dict)
    first: int = 0

    def begin(self) -> None:
        """Writes the lists of a run without results, and takes its numbers; then other runs may begin."""
        with self.folder.lists():
            others, _ = self._others(anew=self.folder.alone)
            self.first = 1 + max((run["first"] + run["inputs"] - 1 for run in others["runs"]), default=0)
            self._write(anew=self.folder.alone)
        self.folder.share()

    def write(self) -> None:
        """Writes what is there."""
        with self.folder.lists():
            self._write(anew=False)

    def _write(self, *, anew: bool) -> None:
        summary = self.summary
        # Read first: a damaged index must not cost the earlier summary.
        others, index = self._others(anew=anew)
        own = {
            "first": self.first,
            "inputs": summary.inputs,
            "passed_over": dict(summary.passed_over),
            "max_samples": summary.max_samples,
            "shared_between_images": summary.reported.shared(),
        }
        runs = sorted([*others["runs"], own], key=lambda run: int(run["first"]))
        results = [*others["results"], *(_finite(asdict(result)) for result in summary.results)]
        results.sort(key=lambda result: int(result["number"]))
        content = {
            "totals": _totals(runs, results),
            "results": results,
            "shared_between_images": max(
                (run["shared_between_images"] for run in runs),
                key=lambda shared: shared["films"] if shared else 0,
            ),
            "runs": runs,
            "radii": RADII,
        }
        _replace(self.output / SUMMARY, content)
        paths = {result.number: str(self.sources[result.number - self.first].absolute()) for result in summary.results}
        made = {
            result.folder.partition("/")[0]: paths[result.number]
            for result in summary.results
            if result.folder and not result.kept
        }
        # A run that was killed may have left results that its index does not have.
        index["folders"] = {**self.earlier, **index["folders"], **made}
        index["last_run"] |= {str(number): path for number, path in paths.items()}
        _replace(self.output / INDEX, index, private=True)

    def _others(self, *, anew: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """What other runs wrote into the summary, and the index; ``anew`` forgets runs that have ended."""
        index = _read(self.output / INDEX, {"folders": {}, "last_run": {}})
        if anew:
            return {"runs": [], "results": []}, {"folders": index["folders"], "last_run": {}}
        summary = _read(self.output / SUMMARY, {"runs": [], "results": []})
        own = range(self.first, self.first + self.summary.inputs) if self.first else ()
        return {
            "runs": [run for run in summary["runs"] if run["first"] != self.first],
            "results": [result for result in summary["results"] if result["number"] not in own],
        }, index


def _totals(runs: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    certified, refused, same, nothing = (
        sum(result["status"] == status for result in results)
        for status in ("certified", "refused", SAME_FILM, NOTHING_FOUND)
    )
    passed_over: Counter[str] = Counter()
    for run in runs:
        passed_over.update(run["passed_over"])
    inputs = sum(run["inputs"] for run in runs)
    return {
        "inputs": inputs,
        "complete": len({result["number"] for result in results}) == inputs,
        "certified": certified,
        "abstained": len(results) - certified - refused - same - nothing,
        "refused": refused,
        "same_film": same,
        "nothing_found": nothing,
        "kept": sum(result["kept"] for result in results),
        "alarms": sum(result["alarm"] is True for result in results),
        "ignored_files": passed_over.total(),
        "passed_over": dict(passed_over),
        "max_samples": max(run["max_samples"] for run in runs),
        "saved_share": _saved_share(results),
    }


def _saved_share(results: Sequence[Mapping[str, Any]]) -> float:
    taken = [(result["n_samples"], result["max_samples"]) for result in results if result["max_samples"]]
    return 1 - sum(n for n, _ in taken) / sum(most for _, most in taken) if taken else 0.0


def _replace(path: Path, content: Mapping[str, Any], *, private: bool = False) -> None:
    atomic_write(path, partial(_write_bytes, json_bytes(content)), overwrite=True, private=private)


def _write_bytes(content: bytes, file: Any) -> None:
    file.write(content)


def _read(path: Path, empty: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a list that an earlier run wrote, of the kinds of ``empty``, which it is if there is none."""
    if not path.exists():
        return {name: type(value)() for name, value in empty.items()}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: type(value)(content[name]) for name, value in empty.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise InputRefused(
            f"{path.name} in the output folder is damaged: move it away, or choose another folder."
        ) from error


def _finite(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: "Infinity" if value == float("inf") else value for key, value in entry.items()}
