"""Four captions of two lines: they fit, they say what is certified and no more, and they carry the record's code."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from monai_robustinterp.certificates.ledger import MeasuredChange
from monai_robustinterp.files import json_bytes
from monai_robustinterp.visualize.physician import CAPTION_LINES, LINE_LENGTH, Captions, Kind, captions
from tests.support.records import make_masks, make_record, make_run, resealed, result_of
from tests.support.vote_factory import make_spec, make_votes

CHANGES = (
    MeasuredChange(name="8-bit rounding", value=None, norms=(1e-3,)),
    MeasuredChange(name="JPEG quality", value=95, norms=(0.15,)),
    MeasuredChange(name="JPEG quality", value=75, norms=(0.4,)),
    MeasuredChange(name="brighter by", value=0.02, norms=(10.0,)),
    MeasuredChange(name="shift, px", value=1, reason="it does not apply."),
)


def record_of(
    *, decision: bool = True, agreeing: int = 3999, eta: float = 0.001, n_samples: int = 4000, **options: Any
) -> dict[str, Any]:
    """A record of 38 of 256 cells; ``agreeing`` copies decide like the network on the clean image."""
    votes = make_votes(n_samples=n_samples, sharpness=options.pop("sharpness", 1.5))
    found = agreeing if decision else n_samples - agreeing
    votes = dataclasses.replace(votes, decision=decision, found_copies=found, **options.pop("votes", {}))
    return result_of(votes, make_spec(votes), eta=eta, finding="effusion", score=0.8399, **options).record


def alarm_record(**options: Any) -> dict[str, Any]:
    """A record whose copies vote beside the lungs."""
    masks = make_masks(m=4000, c=64, k=8, sharpness=6.0)
    never = masks.sum(axis=0) == 0
    votes, spec = make_run(masks, lungs=never, **options)
    record = make_record(votes, spec)
    assert record["regions"][0]["alarm"]
    return record


def text_of(said: Captions) -> str:
    return " ".join(line for caption in said.paragraphs for line in caption)


EVERY = {
    "positive": lambda: record_of(changes=CHANGES),
    "negative": lambda: record_of(decision=False, changes=CHANGES),
    "without a ledger": record_of,
    "abstains": lambda: record_of(sharpness=0.0, n_samples=16, agreeing=16),
    "abstains, and the decision": lambda: record_of(sharpness=0.0, n_samples=16, agreeing=9),
    "the decision may flip": lambda: record_of(agreeing=2050, decision=False),
    "no confidence": lambda: record_of(eta=0.6),
    "alarm": alarm_record,
    "alarm, not found": lambda: alarm_record(logits=(1.1, 0.3)),
    "alarm, unstable": lambda: alarm_record(agreeing=2010),
}


@pytest.fixture(scope="module")
def every() -> dict[str, Captions]:
    return {name: captions(make()) for name, make in EVERY.items()}


def test_every_kind_has_four_captions_that_fit(every) -> None:
    kinds = [Kind.POSITIVE, Kind.NEGATIVE, Kind.POSITIVE, *[Kind.ABSTAINING] * 4, *[Kind.ALARM] * 3]
    assert [said.kind for said in every.values()] == kinds
    for said in every.values():
        assert len(said.paragraphs) == 4
        assert all(1 <= len(caption) <= CAPTION_LINES for caption in said.paragraphs)
        assert max(len(line) for caption in said.paragraphs for line in caption) <= LINE_LENGTH
        assert said.paragraphs[0][0].startswith("RESEARCH, NOT FOR DIAGNOSIS.")


def test_the_decision_is_said_on_one_line_with_the_score_rounded_down(every) -> None:
    assert every["positive"].paragraphs[0][1] == "Computer: effusion FOUND (score 0.83)."
    assert every["negative"].paragraphs[0][1] == "Computer: effusion NOT FOUND (score 0.83)."


def test_the_cut_off_stands_beside_the_score_where_there_is_one(every) -> None:
    first = "RESEARCH, NOT FOR DIAGNOSIS. A score is no probability"
    assert every["positive"].paragraphs[0][0] == f"{first}; cut-off 0.50."
    assert captions(record_of(cut_off=None)).paragraphs[0][0] == f"{first}."


def test_what_the_network_was_seen_to_miss_is_a_remark_where_it_finds_nothing() -> None:
    misses = "Computer missed 23 of 53 adult opacities; not for nodules or masses."
    assert captions(record_of(decision=False, misses=misses)).remarks == (misses,)
    assert captions(record_of(decision=True, misses=misses)).remarks == ()


def test_not_found_is_never_left_to_mean_normal(every) -> None:
    for name, said in every.items():
        not_found = "NOT FOUND" in text_of(said)
        assert ("does not mean normal" in text_of(said)) == not_found, name
    assert sum("NOT FOUND" in text_of(said) for said in every.values()) == 3


def test_stability_is_claimed_only_where_decision_and_map_are_certified_together(every) -> None:
    for name, said in every.items():
        claims = "squares stay" in text_of(said)
        assert claims == said.stable and ("NO STABILITY STATEMENT" in text_of(said)) == (not said.stable), name
        if not said.stable:
            assert "Do not rely on the outlines" in text_of(said), name
    assert [name for name, said in every.items() if not said.stable] == [
        "abstains",
        "abstains, and the decision",
        "the decision may flip",
        "no confidence",
        "alarm, unstable",
    ]


def test_an_abstention_names_what_nothing_is_said_of(every) -> None:
    said = {name: every[name].paragraphs[1][0].removeprefix("NO STABILITY STATEMENT for ") for name in list(every)[3:7]}
    assert list(said.values()) == [
        "the squares.",
        "the decision and the squares.",
        "the decision.",
        "the decision and the squares.",
    ]


def test_only_changes_within_both_radii_count() -> None:
    """The ledger counts what the map's radius covers; here the decision's is smaller, and ends between two changes."""
    record = record_of(agreeing=2400, changes=CHANGES)
    sigma = Fraction(record["spec"]["sigma"])
    label, l_max = (Fraction(record[name]["l2"]) / sigma for name in ("label", "label_and_map"))
    of_the_map = max(Fraction(radius["l2"]) / sigma for radius in record["radii"] if radius["level"] == "population")
    assert label == l_max and Fraction("0.15") < label < Fraction("0.4") < of_the_map
    assert sum(entry["covered"] for entry in record["ledger"]) == 3
    said = text_of(captions(record))
    assert "Under 2 of 4 tested changes, such as" in said and "JPEG quality 75" not in said


def test_the_stability_names_overlap_chance_and_level_and_without_a_ledger_a_length() -> None:
    said = text_of(captions(record_of(changes=CHANGES)))
    assert "the noise-averaged decision and >= 19 of 38 squares stay (chance: 5.6)" in said
    record = record_of(changes=(CHANGES[3],))
    rms = 255 * record["label_and_map"]["l2"] / 128
    printed = captions(record).paragraphs[2][0].split("below ")[1].split(" of 255")[0]
    assert rms - 1e-3 < float(printed) <= rms


def test_the_confidence_is_that_of_all_claims_and_never_rounded_up() -> None:
    for eta, printed in ((0.001, "99.7 %"), (1e-9, "99.9 %"), (0.02, "93.9 %")):
        record = record_of(eta=eta)
        assert record["all_claims"]["eta"] == pytest.approx(3 * eta)
        assert f"not in the finding: {printed}." in text_of(captions(record))


def test_an_alarm_says_how_many_votes_lie_outside_and_rounds_them_down(every) -> None:
    record = alarm_record()
    share = int(every["alarm"].paragraphs[1][0].split("at least ")[1].split(" %")[0])
    assert share <= 100 * (1 - record["regions"][0]["share_upper"]) < share + 1
    assert "does not make this place right" in text_of(every["alarm"])


def test_the_lungs_share_is_said_where_there_are_lungs(every) -> None:
    masks = make_masks(m=2000, c=64, k=8, sharpness=6.0)
    votes, spec = make_run(masks, lungs=masks.sum(axis=0) > 0)
    record = make_record(votes, spec)
    entry = record["regions"][0]
    least = int(np.floor(100 * entry["at_least"]))
    said = captions(record).paragraphs
    assert said[1][1] == (
        f"Votes in lungs: {int(100 * entry['observed'])} % (expected: >= {least} % under the changes below)."
    )
    # Below stand changes within both radii, and the share is certified within that of the map.
    assert said[2][0].startswith("Under") and 0 < record["label_and_map"]["l2"] <= record["claim"]["l_max"]["l2"]
    worst = record | {"regions": [entry | {"observed": 1.0, "at_least": 1.0}]}
    assert [len(caption) for caption in captions(worst).paragraphs] == [2, 2, 2, 2]
    assert "lungs" not in text_of(every["positive"])


def test_long_names_and_large_numbers_fit() -> None:
    record = record_of(changes=CHANGES)
    for name in ("x" * 200, "a finding of " * 20, "Ödem " * 9):
        long = record | {"finding": record["finding"] | {"name": name}}
        assert all(len(line) <= LINE_LENGTH for caption in captions(long).paragraphs for line in caption)
    side, k = 1024, 200_000
    counts = np.zeros(side * side, np.int64)
    counts[:k] = 4000
    votes = dataclasses.replace(
        make_votes(n_samples=4000), counts=counts.reshape(side, side), top_k=k, input_shape=(side, side)
    )
    votes = dataclasses.replace(votes, found_copies=3999)
    said = captions(result_of(votes, make_spec(votes, cell_size=1)).record)
    assert "(200000 of 1048576)" in text_of(said) and "100000 of 200000 squares stay" in text_of(said)


def test_the_code_is_the_beginning_of_the_hash() -> None:
    record = record_of()
    said = captions(record)
    assert len(said.code) == 8 and f'"content_sha256": "{said.code}'.encode() in json_bytes(record)
    assert captions(resealed(record | {"notes": ["another record"]})).code != said.code


def test_what_a_reader_must_know_before_is_remarked() -> None:
    assert captions(record_of()).remarks == ()
    white = record_of(votes={"input_warnings": ("Check the input: it is white.",)})
    selected = record_of(earlier=[{"status": "abstain"}])
    without_lungs = record_of(lungs={"failure": "the lung fields are uncertain."})
    said = [remark for record in (white, selected, without_lungs) for remark in captions(record).remarks]
    assert [remark.split(":")[0] for remark in said] == ["CHECK THE INPUT", "SELECTED", "No statement on the lungs"]
