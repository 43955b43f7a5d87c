"""What a network finds in an image, all of it certified: the results, and one record of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monai_robustinterp.certificates.certificate import CertifiedResult
from monai_robustinterp.certificates.split import Split, all_findings
from monai_robustinterp.files import sealed

FINDINGS_FORMAT = "monai_robustinterp/findings/1"


@dataclass(frozen=True, kw_only=True)
class CertifiedFindings:
    """The findings of one image.

    Attributes:
        results: one a finding, in the order of the network's logits; empty if it finds none.
        record: content of findings.json, as ``schemas/findings.schema.json`` describes it.
        meta: the reader's plain metadata of the image.
    """

    results: tuple[CertifiedResult, ...]
    record: dict[str, Any]
    meta: dict[str, Any]

    @property
    def folders(self) -> tuple[str, ...]:
        """Name of the folder of each result."""
        return found_folders(self.record)


def found_folders(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the folders of the findings that a record tells of."""
    return tuple(entry["folder"] for entry in record["findings"] if entry["found"])


def findings_record(
    results: Sequence[CertifiedResult],
    *,
    names: Sequence[str],
    scores: Sequence[float],
    logits: Sequence[float],
    eta: float,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """Puts down what was found, and what holds for all of it together.

    Args:
        results: of the findings that the network finds.
        names: of all that it looks for.
        scores: of the clean image, as many.
        logits: likewise.
        eta: failure probability of each kind of claim, over all findings.
        origin: ``source``, ``provenance``, ``image_sha256``, ``precision`` and ``notes`` of the image: plain JSON
            values.
    """
    found = {result.certificate.spec.target: result for result in results}
    split = Split(findings=len(found), eta=eta) if found else None
    return sealed(
        {
            "format": FINDINGS_FORMAT,
            "sentence": split.sentence if split else _nothing(len(names)),
            "eta": eta,
            "eta_each": split.part if split else None,
            "all_claims": all_findings([one.record["all_claims"]["eta"] for one in results]) if split else None,
            "findings": [
                {"name": name, "target": target, "score": score, "logit": logit, "found": target in found}
                | _result(target, name, found.get(target))
                for target, (name, score, logit) in enumerate(zip(names, scores, logits))
            ],
            **origin,
        }
    )


def _result(target: int, name: str, result: CertifiedResult | None) -> dict[str, Any]:
    """Where the result of a finding lies, and which it is."""
    if result is None:
        return {"folder": None, "status": None, "certificate_sha256": None}
    # A name is the bundle's, and may hold what a path must not.
    safe = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return {
        "folder": f"{target:02d}-{safe or 'finding'}",
        "status": result.record["status"],
        "certificate_sha256": result.record["content_sha256"],
    }


def _nothing(n_findings: int) -> str:
    return (
        f"The network finds none of its {n_findings} findings in this image, so nothing is certified. --target NAME "
        "certifies that a finding stays absent."
    )
