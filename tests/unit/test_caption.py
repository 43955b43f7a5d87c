"""What the overlay says in words."""

from __future__ import annotations

import dataclasses

from monai_robustinterp.certificates import Certificate, certify_votes
from monai_robustinterp.certificates.rerun import rerun_radius
from monai_robustinterp.certificates.units import readable, round_down
from monai_robustinterp.visualize.caption import caption_lines, ceiling_line, guarantee, label_line, rerun_line
from tests.support.records import result_of
from tests.support.vote_factory import make_spec, make_votes


def make_certificate(eta: float = 0.001, *, agreeing: int = 4000, **changes: object) -> Certificate:
    votes = dataclasses.replace(make_votes(n_samples=4000), decision=True, found_copies=agreeing, **changes)
    return certify_votes(votes, make_spec(votes), beta="0.5", eta=eta)


def make_lines(**changes: object) -> list[str]:
    votes = dataclasses.replace(make_votes(n_samples=4000), decision=True, found_copies=3999)
    spec = dataclasses.replace(make_spec(votes), precision=changes.pop("precision", "float32"))
    return caption_lines(result_of(dataclasses.replace(votes, **changes), spec, finding="effusion").record)


def test_a_map_whose_decision_may_flip_is_not_called_certified() -> None:
    certificate = make_certificate(agreeing=2050)
    assert certificate.label.l2 == 0
    sentence = guarantee(certificate)
    assert sentence.startswith("NOT CERTIFIED, since the decision may flip; of the map alone, population level")
    assert "ABSTAIN" in label_line(certificate)


def test_a_confidence_that_leaves_none_for_both_is_not_called_certified() -> None:
    certificate = make_certificate(eta=0.6)
    assert certificate.l_max > 0 and certificate.label.l2 > 0
    assert guarantee(certificate).startswith("NOT CERTIFIED, since map and decision leave no confidence")
    votes = make_votes(n_samples=4000)
    rerun = rerun_radius(votes, make_spec(votes), beta="0.5", eta=0.6, eta_rerun=0.6)
    assert rerun_line(rerun) == "Second run: ABSTAIN, no radius at confidence 0 %."


def test_decision_and_map_together_hold_up_to_the_smaller_radius_at_the_summed_eta() -> None:
    certificate = make_certificate(agreeing=2400)
    label = certificate.label
    assert 0 < label.l2 < certificate.l_max
    line = label_line(certificate)
    assert f"L_label = {readable(label.l2)}, confidence 99.9 %" in line
    assert f"decision and map below {readable(label.l2)}, confidence 99.8 %" in line


def test_the_guarantee_names_level_unit_confidence_and_share() -> None:
    certificate = make_certificate()
    sentence = guarantee(certificate)
    parts = (
        *("CERTIFIED, population level", "99.9 %", "l2 norm below L_max", "19 of the 38", "beta 0.5", "gray levels"),
        readable(certificate.l_max),
    )
    assert not [part for part in parts if part not in sentence]


def test_the_ceiling_and_chance_stand_beside_the_radius() -> None:
    certificate = make_certificate()
    line = ceiling_line(certificate)
    share = round_down(100 * certificate.l_max / certificate.ceiling, 1)
    assert 0 < float(share) < 100 and f"L_max is {share} % of the ceiling {readable(certificate.ceiling)}" in line
    assert "Two random sets of 38 cells share 5.6 on average" in line
    votes = make_votes(n_samples=16, sharpness=0.0)
    abstains = certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001)
    assert abstains.l_max == 0 and ceiling_line(abstains).startswith("The ceiling is")


def test_a_confidence_is_never_rounded_up() -> None:
    expected = {1e-9: "99.9999999 %", 1e-7: "99.99999 %", 0.05: "95 %", 0.3: "70 %"}
    said = {eta: guarantee(make_certificate(eta)) for eta in expected}
    assert not [eta for eta, words in expected.items() if f"confidence {words}:" not in said[eta]]


def test_an_abstention_claims_nothing() -> None:
    votes = make_votes(n_samples=16, sharpness=0.0)
    sentence = guarantee(certify_votes(votes, make_spec(votes), beta="0.5", eta=0.001))
    assert sentence.startswith("ABSTAIN") and "Nothing is claimed" in sentence


def test_lines_hold_finding_notes_and_disclaimer() -> None:
    lines = make_lines(constant_copies=7)
    text = " ".join(lines)
    assert "effusion: score 0.50 (not calibrated)" in text and "99.9 % of noisy copies" in text
    assert "7 of 4000 copies had a constant map" in text
    doubtful = make_lines(input_warnings=("Check the input: it is white.",))
    assert doubtful[1].startswith("CERTIFIED") and doubtful[2] == "Check the input: it is white."
    assert "NOT FOR DIAGNOSIS" in lines[-1]


def test_another_precision_than_float32_is_named() -> None:
    texts = {precision: " ".join(make_lines(precision=precision)) for precision in ("float32", "tf32", "bfloat16")}
    assert "network in " not in texts["float32"] and "gradient, noise sigma 0.1" in texts["float32"]
    assert all(f"gradient, network in {name}, noise sigma 0.1" in texts[name] for name in ("tf32", "bfloat16"))


def test_small_radii_keep_their_digits() -> None:
    expected = {0.0: "0.0000", 0.08999: "0.0899", 3.2e-7: "0.000000320", 0.00999: "0.00999"}
    assert {value: readable(value) for value in expected} == expected


def test_noise_that_is_not_white_and_a_denoiser_are_named_with_the_radius_in_that_noise() -> None:
    votes = dataclasses.replace(make_votes(n_samples=4000), decision=True, found_copies=3999)
    denoiser = {"name": "chest", "version": "1", "sha256": "", "gradient": "at"}
    spec = dataclasses.replace(make_spec(votes), brightness=0.03125, denoiser=denoiser)
    result = result_of(votes, spec)
    text = "\n".join(caption_lines(result.record))
    in_noise = readable(result.certificate.l_max / spec.sigma)
    assert f"or shorter than {in_noise} standard deviations of the noise" in text
    assert f"noise sigma {spec.sigma:g}, brightness 0.03125, each copy denoised by chest" in text
    plain = "\n".join(caption_lines(result_of(votes, make_spec(votes)).record))
    assert "or shorter than" not in plain and "denoised" not in plain
