"""What the overlay says in words."""

from __future__ import annotations

import dataclasses

import pytest

from monai_robustinterp.certificates import certify_votes
from monai_robustinterp.certificates.units import readable
from monai_robustinterp.types import Certificate
from monai_robustinterp.visualize.caption import caption_lines, guarantee
from tests.unit.test_certify import make_spec, make_votes


def make_certificate(eta: float = 0.001, **changes: object) -> Certificate:
    votes = dataclasses.replace(make_votes(n_samples=4000), **changes)
    return certify_votes(votes, make_spec(votes), beta="0.5", eta=eta)


def test_the_guarantee_names_level_unit_confidence_and_share() -> None:
    certificate = make_certificate()
    sentence = guarantee(certificate)
    for part in (
        "CERTIFIED, population level",
        "99.9 %",
        "l2 norm below L_max",
        "19 of the 38",
        "beta 0.5",
        "grey levels",
    ):
        assert part in sentence
    assert readable(certificate.l_max) in sentence


@pytest.mark.parametrize(
    ("eta", "expected"), [(1e-9, "99.9999999 %"), (1e-7, "99.99999 %"), (0.05, "95 %"), (0.3, "70 %")]
)
def test_a_confidence_is_never_rounded_up(eta, expected) -> None:
    assert f"confidence {expected}:" in guarantee(make_certificate(eta))


def test_an_abstention_claims_nothing() -> None:
    votes = make_votes(n_samples=16, sharpness=0.0)
    sentence = guarantee(certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001))
    assert sentence.startswith("ABSTAIN") and "Nothing is claimed" in sentence


def test_lines_hold_finding_notes_and_disclaimer() -> None:
    lines = caption_lines(
        make_certificate(constant_copies=7), finding="effusion", score=0.5, label_agreement=3999 / 4000
    )
    text = " ".join(lines)
    assert "effusion: score 0.50 (not calibrated)" in text and "99.9 % of noisy copies" in text
    assert "7 of 4000 copies had a constant map" in text
    assert "NOT FOR DIAGNOSIS" in lines[-1]


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, "0.0000"), (0.08999, "0.0899"), (3.2e-7, "0.000000320"), (0.00999, "0.00999")]
)
def test_small_radii_keep_their_digits(value, expected) -> None:
    assert readable(value) == expected
