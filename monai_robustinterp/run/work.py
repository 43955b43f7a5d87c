"""What a run makes of each image: of one target here, of every finding in :mod:`.every_finding`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.geometry.changes import Change
from monai_robustinterp.io.write.options import OutputOptions
from monai_robustinterp.io.write.result import save as save_result
from monai_robustinterp.run.kept import earlier_runs, kept_result
from monai_robustinterp.run.pipeline import Prepared, finish, vote
from monai_robustinterp.smoothing.case import Found
from monai_robustinterp.smoothing.recipe import Progress
from monai_robustinterp.types import SmoothingSpec, VoteMap


@dataclass(frozen=True, kw_only=True)
class Part:
    """The votes of one finding.

    Attributes:
        prepared: the image, with its earlier runs for this finding.
        bundle: what took them, and certifies them.
        votes: the counts.
        spec: how they were taken.
    """

    prepared: Prepared
    bundle: SaliencyBundle
    votes: VoteMap
    spec: SmoothingSpec


@dataclass(frozen=True, kw_only=True)
class Taken:
    """The votes of an image.

    Attributes:
        prepared: the image.
        parts: one a finding.
        found: what the network finds in it; None where the target was given.
    """

    prepared: Prepared
    parts: tuple[Part, ...]
    found: Found | None = None


@dataclass(frozen=True, kw_only=True)
class Results:
    """What the folder of an image holds.

    Attributes:
        records: content of certificate.json of each result.
        votes: of each.
        findings: content of findings.json; None where there is none.
    """

    records: tuple[dict[str, Any], ...]
    votes: tuple[VoteMap, ...]
    findings: dict[str, Any] | None = None


class Work(Protocol):
    """What is made of an image once it is read."""

    def keep(self, folder: Path, ready: Prepared) -> Results:
        """Reads what is there of the same file; InputRefused if this run would not make it."""

    def vote(self, ready: Prepared, progress: Progress, *, replaced: Path | None) -> Taken:
        """Takes the votes; ``replaced`` is a folder of the same file that is to be replaced."""

    def write(self, taken: Taken, folder: Path, changes: Sequence[MeasuredChange]) -> Results:
        """Certifies the votes, and writes an empty folder."""


@dataclass(frozen=True, kw_only=True)
class OneTarget:
    """Certifies the bundle's target of each image.

    Attributes:
        bundle: the classifier and how to certify it.
        changes: of every image, which the ledger tells of.
        options: how results are written.
    """

    bundle: SaliencyBundle
    changes: Sequence[Change]
    options: OutputOptions

    def keep(self, folder: Path, ready: Prepared) -> Results:
        """See :class:`Work`."""
        kept = kept_result(folder, ready, bundle=self.bundle, changes=self.changes, options=self.options)
        return Results(records=(kept.record,), votes=(kept.votes,))

    def vote(self, ready: Prepared, progress: Progress, *, replaced: Path | None) -> Taken:
        """See :class:`Work`."""
        if replaced is not None:
            ready = replace(ready, earlier=earlier_runs(replaced, ready, bundle=self.bundle))
        votes, spec = vote(ready, self.bundle, progress)
        return Taken(prepared=ready, parts=(Part(prepared=ready, bundle=self.bundle, votes=votes, spec=spec),))

    def write(self, taken: Taken, folder: Path, changes: Sequence[MeasuredChange]) -> Results:
        """See :class:`Work`."""
        (part,) = taken.parts
        result = finish(part.prepared, part.bundle, votes=part.votes, spec=part.spec, changes=changes)
        save_result(result, folder, self.options)
        return Results(records=(result.record,), votes=(part.votes,))
