"""Coded concepts of the objects: those of the standard, and this package's own in one table.

The designator of the own ones begins with 99, as PS3.16 8.2 asks of private coding schemes. Values never change their
meaning: what is meant otherwise gets another value.
"""

from __future__ import annotations

import hashlib

from highdicom.sr import CodedConcept
from pydicom.sr.coding import Code

SCHEME = "99ROBUSTINTERP"
SCHEME_NAME = "Coded concepts of monai_robustinterp"

_OWN = {
    "DECISION": "Decision of the classifier at its cut-off",
    "STATUS": "Status of the certificate",
    "CERTIFIED": "Decision and map both have a certified radius",
    "MAP_ONLY": "The map has a certified radius, the decision may flip",
    "NO_CONFIDENCE": "Decision and map leave no confidence together",
    "ABSTAIN": "No certified radius of the map: nothing is claimed",
    "ALARM": "Most votes expected outside the lungs",
    "TOP_K": "Cells with the most votes of noisy copies",
    "VOTE_SHARE": "Share of noisy copies that vote for the cell",
    "SCORE": "Score of the classifier, not calibrated",
    "CUT_OFF": "Score above which the classifier finds it",
    "AGREEMENT": "Share of noisy copies with the decision of the clean image",
    "RADIUS_MAP": "Radius within which the map keeps its cells",
    "RADIUS_LABEL": "Radius within which the smoothed decision is kept",
    "RADIUS_BOTH": "Radius within which decision and map are both kept",
    "RADIUS_RERUN": "Radius within which a second run reports the cells",
    "RADIUS_CEILING": "Radius of a map that ignores the image",
    "RADIUS_LUNGS": "Radius with most votes expected in the lungs",
    "RADIUS_NATIVE": "Radius of the map in stored pixel values",
    "LUNGS_OBSERVED": "Share of the votes in the lung fields",
    "LUNGS_AT_LEAST": "Certified share of votes in the lungs, from below",
    "LUNGS_AT_MOST": "Certified share of votes in the lungs, from above",
    "BETA": "Share of the reported cells that is certified to stay",
    "FINDINGS": "Findings of the classifier in this image",
    "OVERLAP": "Reported cells that are certified to stay",
    "OVERLAP_CHANCE": "Cells that two random sets of this size share on average",
    "CONFIDENCE": "Confidence in this claim over the noise, per image",
    "CONFIDENCE_ALL": "Confidence in all claims of the record together",
    "POPULATION": "Holds with the stated confidence over the noise",
    "PLUG_IN": "Estimate at the observed shares, claims nothing",
    "RERUN": "Holds for a second run with the stated confidence",
    "RENYI": "Renyi divergence, l2 norm over the network's input",
    "NEYMAN_PEARSON": "Neyman-Pearson lemma, l2 norm over the network's input",
    "PAIRS": "Discordant pairs of cells, l2 norm over the network's input",
    "L2": "l2 norm over the network's input",
    "L2_STORED": "l2 norm over the stored pixel values of the image",
    "RMS_GRAY": "Root mean square per pixel of the network's input",
    "L_INF": "Largest change of a pixel of the network's input",
    "WITHIN_MAP": "At every input within the radius of the map",
    "AT_IMAGE": "At the image itself",
    "CHANGE": "Tested change of the image",
    "CHANGES_TESTED": "Tested changes of the image that apply",
    "CHANGES_COVERED": "Tested changes within the radius of the map",
    "CLAIM": "Claim in words",
    "NOTE": "Note on the claim",
    "MODEL_SHA256": "SHA-256 of the network's weights",
    "RECORD_SHA256": "SHA-256 of certificate.json",
}


def own(name: str) -> Code:
    """A concept of the own table."""
    return Code(name, SCHEME, _OWN[name])


def finding_concept(name: str) -> CodedConcept:
    """The concept of a classifier's finding.

    A classifier's class is what it was trained on, and no more: no name of it is taken for a concept of SNOMED.

    Args:
        name: as the classifier calls it.
    """
    digest = hashlib.sha256(name.encode()).hexdigest()
    return CodedConcept(f"F_{digest[:12]}".upper(), SCHEME, name[:64] or "unnamed")


INPUT_UNITS = Code("{network input}", "UCUM", "network input, display range 0 to 1")
GRAY_LEVELS = Code("{gray level}", "UCUM", "gray levels of 255")
STORED_UNITS = Code("{stored value}", "UCUM", "stored pixel values")
CELLS = Code("{cells}", "UCUM", "cells")
FINDINGS = Code("{findings}", "UCUM", "findings")
CHANGES = Code("{changes}", "UCUM", "changes")
