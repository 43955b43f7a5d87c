"""What the overlay says in words."""

from __future__ import annotations

import dataclasses

import pytest

from monai_robustinterp.certificates import LabelCertificate, certify_label, certify_votes
from monai_robustinterp.certificates.rerun import rerun_radius
from monai_robustinterp.certificates.units import readable
from monai_robustinterp.types import Certificate
from monai_robustinterp.visualize.caption import caption_lines, guarantee, label_line, rerun_line
from tests.support.vote_factory import make_spec, make_votes


def make_certificate(eta: float = 0.001, **changes: object) -> Certificate:
    votes = dataclasses.replace(make_votes(n_samples=4000), **changes)
    return certify_votes(votes, make_spec(votes), beta="0.5", eta=eta)


def make_label(agreeing: int = 4000, eta: float = 0.001) -> LabelCertificate:
    votes = dataclasses.replace(make_votes(n_samples=4000), decision=True, found_copies=agreeing)
    return certify_label(votes, 0.1, eta_label=eta)


def test_a_map_whose_decision_may_flip_is_not_called_certified() -> None:
    label = make_label(agreeing=2050)
    assert label.l2 == 0
    sentence = guarantee(make_certificate(), label)
    assert sentence.startswith("NOT CERTIFIED, since the decision may flip; of the map alone, population level")
    assert "ABSTAIN" in label_line(make_certificate(), label)


def test_a_confidence_that_leaves_none_for_both_is_not_called_certified() -> None:
    certificate, label = make_certificate(eta=0.6), make_label(eta=0.6)
    assert certificate.l_max > 0 and label.l2 > 0
    assert guarantee(certificate, label).startswith("NOT CERTIFIED, since map and decision leave no confidence")
    votes = make_votes(n_samples=4000)
    rerun = rerun_radius(votes, make_spec(votes), beta="0.5", eta=0.6, eta_rerun=0.6)
    assert rerun_line(rerun) == "Second run: ABSTAIN, no radius at confidence 0 %."


def test_decision_and_map_together_hold_up_to_the_smaller_radius_at_the_summed_eta() -> None:
    certificate, label = make_certificate(), make_label(agreeing=2400)
    assert 0 < label.l2 < certificate.l_max
    line = label_line(certificate, label)
    assert f"L_label = {readable(label.l2)}, confidence 99.9 %" in line
    assert f"decision and map below {readable(label.l2)}, confidence 99.8 %" in line


def test_the_guarantee_names_level_unit_confidence_and_share() -> None:
    certificate = make_certificate()
    sentence = guarantee(certificate, make_label())
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
    assert f"confidence {expected}:" in guarantee(make_certificate(eta), make_label())


def test_an_abstention_claims_nothing() -> None:
    votes = make_votes(n_samples=16, sharpness=0.0)
    sentence = guarantee(certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001), make_label())
    assert sentence.startswith("ABSTAIN") and "Nothing is claimed" in sentence


def test_lines_hold_finding_notes_and_disclaimer() -> None:
    lines = caption_lines(
        make_certificate(constant_copies=7), make_label(), finding="effusion", score=0.5, label_agreement=3999 / 4000
    )
    text = " ".join(lines)
    assert "effusion: score 0.50 (not calibrated)" in text and "99.9 % of noisy copies" in text
    assert "7 of 4000 copies had a constant map" in text
    assert "NOT FOR DIAGNOSIS" in lines[-1]


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_another_precision_than_float32_is_named(precision) -> None:
    certificate = make_certificate()
    certificate = dataclasses.replace(certificate, spec=dataclasses.replace(certificate.spec, precision=precision))
    text = " ".join(caption_lines(certificate, make_label(), finding="x", score=0.5, label_agreement=1.0))
    assert "gradient, " in text
    assert ("network in " in text) == (precision != "float32")
    assert precision == "float32" or f"gradient, network in {precision}, sigma 0.1" in text


@pytest.mark.parametrize(
    ("value", "expected"), [(0.0, "0.0000"), (0.08999, "0.0899"), (3.2e-7, "0.000000320"), (0.00999, "0.00999")]
)
def test_small_radii_keep_their_digits(value, expected) -> None:
    assert readable(value) == expected
