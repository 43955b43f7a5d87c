"""The audit of certified ranges: every claim of attention.json against the counts that stand in it."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from monai_robustinterp.audit.binomial import clopper_pearson_lower, mass_weighted_lower, mass_weighted_upper
from monai_robustinterp.audit.case import exact_share
from monai_robustinterp.audit.changes import commutes, ends, expected_change, is_known, readable, words_of
from monai_robustinterp.audit.expect import (
    ABOVE,
    BELOW,
    NEAR,
    HashOnly,
    Judged,
    Leaf,
    Number,
    Same,
    as_number,
    bound_above,
    follows,
    guarantee,
    near,
)
from monai_robustinterp.audit.radii import neyman_pearson_radius, renyi_epsilon, renyi_radius
from monai_robustinterp.audit.real import MP, Real, phi_inverse
from monai_robustinterp.audit.sentences import floored, raised
from monai_robustinterp.audit.stored import stored_units
from monai_robustinterp.audit.strict import AuditError
from monai_robustinterp.audit.surroundings import content_sha256
from monai_robustinterp.audit.verify import AuditReport, verify_other

RANGES_FORMAT = "monai_robustinterp/attention-ranges/3"
_NOISE = "semantic/philox4x32-10/box-muller/1"
_CLAIM = (
    "of each kind of change by itself, never of two at once, nor of noise in the pixels: with probability >= 1 - eta "
    "over the noise in its strength, the reported cells and the top-k of the expected vote map of the image that is "
    "changed by any strength below the radius, up or down, share at least overlap cells. The expected vote map is "
    "that of copies whose strength is drawn around the image's own; it is not the plain map, and says nothing about "
    "faithfulness. Brightness, contrast, gamma, slope, window center and window width change display values in real "
    "numbers before they are cut off at black and white, with the choice of the display range as it is; a shift moves "
    "the network's input, in a circle or in a surround, and the maps are compared where the anatomy lies. Network, "
    "interpreter, precision and target class are fixed; the theorem is about real Gaussian noise, which float32 and a "
    "counter-based generator approximate"
)
_JOINT_CLAIM = (
    "of each kind of change by itself, together with any change of the pixels: with probability >= 1 - eta over the "
    "noise in its strength and in the pixels, the reported cells and the top-k of the expected vote map of the image "
    "that is changed by a strength d and by pixels of l2 norm e with (d/radius)^2 + (e/l2)^2 < 1 share at least "
    "overlap cells. e is the largest l2 norm by which the pixels move the network's input of a copy, whatever its "
    "strength. The expected vote map is that of copies whose strength is drawn around the image's own, with white "
    "noise in the network's input and the denoiser, if one is named; it is not the plain map, and says nothing about "
    "faithfulness. Brightness, slope and window center change display values in real numbers before they are cut off "
    "at black and white, with the choice of the display range as it is; a shift moves the network's input, in a "
    "circle or in a surround, and the maps are compared where the anatomy lies. Network, interpreter, precision and "
    "target class are fixed; the theorem is about real Gaussian noise, which float32 and a counter-based generator "
    "approximate"
)
_ROUNDED = MP.mpf(10) ** -9
_ROUND_OFF = MP.mpf(10) ** -13
_HASH = "[0-9a-f]{64}"


def verify_ranges(
    record: Mapping[str, Any], *, input_file: str | Path | None = None, bundle: str | Path | None = None
) -> AuditReport:
    """Recomputes every claim of certified ranges from the counts in the record, in 40-digit arithmetic.

    Args:
        record: content of attention.json.
        input_file: the image file, whose SHA-256 is compared.
        bundle: folder of the bundle, whose configuration and weights are compared by their SHA-256.

    Raises:
        AuditError: if the record is of another format, or damaged so that nothing follows from it.
    """
    return verify_other(
        record,
        RANGES_FORMAT,
        lambda: _expected(record),
        input_file=input_file,
        bundle=bundle,
        not_checked=["the counts (attention with the same settings and seed draws the copies anew)"],
    )


def _expected(record: Mapping[str, Any]) -> dict[str, Any]:
    eta, beta, ranges = record["eta"], exact_share(record["beta"]), record["ranges"]
    if not isinstance(eta, float) or not (0 < eta < 1 and 1 - eta < 1) or not 0 < beta <= 1:
        raise AuditError("the record has no eta in (0, 1) and beta in (0, 1]: it is damaged.")
    pixels = ranges[0]["pixels"]
    texts = ("format", "intensity_path", "display_source", "warnings")
    return {
        "format": Same(RANGES_FORMAT),
        "claim": Same(_CLAIM if pixels is None else _JOINT_CLAIM),
        "finding": {"name": HashOnly(str), "target": HashOnly(int), "score": HashOnly(float)},
        "beta": Same(record["beta"]),
        "eta": Same(eta),
        "all_claims": {"eta": bound_above(min(MP.mpf(1), 2 * len(ranges) * MP.mpf(eta)))},
        "ranges": [_range(one, eta, beta, pixels and pixels["sigma"], record["source"]) for one in ranges],
        "logits": [HashOnly(float) for _ in record["logits"]],
        "image_sha256": HashOnly(str, form=_HASH),
        "source": {name: HashOnly(str) for name in texts}
        | {name: HashOnly(str, form=_HASH) for name in ("file_sha256", "pixel_sha256")}
        | {"shape": [HashOnly(int), HashOnly(int)]},
        "provenance": {name: HashOnly(str) for name in record["provenance"]},
        "content_sha256": Same(content_sha256(record)),
    }


def _range(
    one: Mapping[str, Any], eta: float, beta: Fraction, pixel_sigma: float | None, source: Mapping[str, Any]
) -> dict[str, Any]:
    counts, m, k = _counts(one)
    change, sigma = one["change"], one["spec"]["sigma"]
    overlap = math.ceil(beta * k)
    swaps = k - overlap + 1
    wrong = swaps // 50
    if not is_known(change) or k + swaps > len(counts) or not _is_float32(sigma):
        raise AuditError("a range has no known change, no noise, or a claim that is trivially true: it is damaged.")
    level, used = MP.mpf(eta) * (wrong + 1) / (2 * k), swaps - wrong
    plain = [MP.mpf(x) / m for x in counts[k - swaps : k]], [MP.mpf(x) / m for x in counts[k : k + swaps]]
    bounds = (
        [mass_weighted_lower(x, m, level) for x in counts[k - used : k]],
        [mass_weighted_upper(x, m, level) for x in counts[k : k + used]],
    )
    radius = max(_found(entry["radius"]) for entry in one["radii"] if entry["level"] == "population")
    blind = neyman_pearson_radius([mass_weighted_lower(m, m, level)], [mass_weighted_upper(0, m, level)], MP.mpf(sigma))
    words = _covered(one, radius)
    return {
        "change": expected_change(change, sigma, display_source=source["display_source"]),
        "pixels": _pixels(one, radius, pixel_sigma, source),
        "status": Same("certified" if words else "abstain"),
        "sentence": Same(_sentence(one, words, eta=eta, overlap=overlap)),
        "radius": Same(radius),
        "range": ends(change, radius),
        **_stored(one, radius),
        "overlap": Same(overlap),
        "ceiling": Number(blind, blind * ABOVE, blind * BELOW + sigma * _ROUNDED),
        "radii": [
            entry
            for position, (level_name, edge) in enumerate((("plug-in", plain), ("population", bounds)))
            for entry in _radii(one, level_name, *edge, position=2 * position)
        ],
        "decision": _decision(one, eta),
        **_not_recomputed(one),
    }


def _counts(one: Mapping[str, Any]) -> tuple[list[int], int, int]:
    """Votes of the cells in descending order, copies and top-k."""
    counts = sorted((count for row in one["counts"] for count in row), reverse=True)
    m, k = one["spec"]["n_samples"], one["spec"]["top_k"]
    whole = all(type(number) is int for number in (*counts, m, k, one["found_copies"]))
    if not whole or not (k >= 1 and 0 <= counts[-1] <= counts[0] <= m and sum(counts) == m * k):
        raise AuditError("the counts of a range are no votes of its copies: the record is damaged.")
    if not 0 <= one["found_copies"] <= m:
        raise AuditError("more copies find the target than there are: the record is damaged.")
    return counts, m, k


def _radii(
    one: Mapping[str, Any], level: str, inside: Sequence[Real], outside: Sequence[Real], *, position: int
) -> list[dict[str, Leaf]]:
    sigma, k, entry = MP.mpf(one["spec"]["sigma"]), one["spec"]["top_k"], one["radii"][position]
    l2 = neyman_pearson_radius(inside, outside, sigma)
    marginal = near(l2) if level == "plug-in" else Number(l2, l2 * ABOVE, l2 * BELOW + sigma * _ROUNDED)
    alpha, found = as_number(entry["alpha"]), as_number(entry["epsilon"])
    if alpha is None or found is None or not (1 < alpha < MP.inf and found >= 0):
        raise AuditError("a Renyi radius has no order above 1, or no divergence: the record is damaged.")
    epsilon = renyi_epsilon([q / k for q in inside], [q / k for q in outside], alpha)
    radius = renyi_radius(epsilon, alpha, sigma)
    share = NEAR if level == "plug-in" else ABOVE
    if MP.isinf(epsilon):
        leaves = near(epsilon), near(radius)
    else:
        from_found = renyi_radius(min(found, MP.mpf(10) ** 9), alpha, sigma)
        leaves = (
            Number(epsilon, _ROUND_OFF + epsilon * share, _ROUND_OFF + epsilon * max(share, BELOW)),
            near(from_found) if level == "plug-in" else guarantee(radius, least=from_found),
        )
    common = {"level": Same(level)}
    return [
        {**common, "family": Same("renyi"), "radius": leaves[1], "epsilon": leaves[0], "alpha": Judged("", alpha)},
        {**common, "family": Same("neyman-pearson"), "radius": marginal},
    ]


def _decision(one: Mapping[str, Any], eta: float) -> dict[str, Any]:
    entry, m, sigma = one["decision"], one["spec"]["n_samples"], MP.mpf(one["spec"]["sigma"])
    agreeing = one["found_copies"] if entry["found"] else m - one["found_copies"]
    lower = clopper_pearson_lower(agreeing, m, MP.mpf(eta))
    radius = sigma * phi_inverse(lower) if lower > 0.5 else MP.mpf(0)
    return {
        "found": HashOnly(bool),
        "agreeing_copies": Same(agreeing),
        "radius": Number(radius, radius * ABOVE, radius * BELOW + sigma * _ROUNDED),
        "range": ends(one["change"], _found(entry["radius"])),
    }


def _pixels(
    one: Mapping[str, Any], radius: float, pixel_sigma: float | None, source: Mapping[str, Any]
) -> Leaf | dict[str, Any]:
    """Of every range the same noise, and none beside a change that it does not commute with."""
    if pixel_sigma is None:
        return Same(None)
    if not commutes(one["change"]) or not _is_float32(pixel_sigma):
        raise AuditError("a range has noise in the pixels that does not go with its change: it is damaged.")
    share = MP.mpf(pixel_sigma) / MP.mpf(one["spec"]["sigma"])
    pixels, side = one["pixels"], one["spec"]["cell_size"]
    input_shape = [side * len(one["counts"]), side * len(one["counts"][0])]
    return {
        "sigma": Same(pixel_sigma),
        "l2": follows(MP.mpf(radius) * share),
        "decision_l2": follows(MP.mpf(_found(one["decision"]["radius"])) * share),
        "native": stored_units(pixels["native"], MP.mpf(_found(pixels["l2"])), source=source, input_shape=input_shape),
    }


def _stored(one: Mapping[str, Any], radius: float) -> dict[str, Leaf]:
    if one["stored_values"] is None:
        said = "" if one["stored_values_reason"] else "the file has no reason why there are none"
        return {
            "stored_values": Same(None),
            "stored_values_reason": HashOnly(str, said),
            "display_slope": Same(None),
        }
    slope = _found(one["display_slope"])
    of_brightness = "" if one["change"]["name"] == "brightness" and slope > 0 else "stored values are of brightness"
    return {
        "stored_values": follows(MP.mpf(radius) / slope) if not of_brightness else Judged(of_brightness),
        "stored_values_reason": Same(""),
        "display_slope": HashOnly(float),
    }


def _not_recomputed(one: Mapping[str, Any]) -> dict[str, Any]:
    spec = {name: HashOnly(type(value)) for name, value in one["spec"].items()}
    # A denoiser may stand before the network only where the pixels are noisy.
    denoiser = {} if one["pixels"] is None else {name: HashOnly(str) for name in one["spec"]["denoiser"]}
    fixed = {"noise": Same(_NOISE), "looks": [], "denoiser": denoiser, "brightness": Same(0.0), "tilt": Same(0.0)}
    return {
        "counts": [[HashOnly(int) for _ in row] for row in one["counts"]],
        "found_copies": HashOnly(int),
        "spec": spec | fixed,
        "notes": [HashOnly(str) for _ in one["notes"]],
        "sampled": {
            "strengths": [HashOnly(float) for _ in one["sampled"]["strengths"]],
            "plain": [HashOnly(int) for _ in one["sampled"]["plain"]],
            "smoothed": [HashOnly(int) for _ in one["sampled"]["smoothed"]],
        },
    }


def _is_float32(sigma: float) -> bool:
    """Whether it is a standard deviation that the copies can have had."""
    return 0 < sigma <= 64 and struct.unpack("<f", struct.pack("<f", sigma))[0] == sigma


def _found(value: Any) -> float:
    number = as_number(value)
    if number is None or not 0 <= number < MP.inf:
        raise AuditError("a radius is no number >= 0: the record is damaged.")
    return float(number)


def _covered(one: Mapping[str, Any], radius: float) -> str:
    """The covered changes in words, from the recorded ends; "" if there are none."""
    change, stored = one["change"], one["stored_values"]
    words = words_of(change, one["range"], radius)
    steps = "" if stored is None else floored(stored, 0) if stored >= 10 else readable(stored)
    alone = f"{words}{f' (+-{steps} stored values)' if steps else ''}" if words else ""
    if one["pixels"] is None or not radius > 0:
        return alone
    pixels = f"any change of the network's input of l2 norm below {readable(_found(one['pixels']['l2']))}"
    if not words:
        return f"{pixels}, without a {change['name']}"
    limit = f" (limit {readable(radius)} px)" if change["name"].startswith("shift") else ""
    stored_l2 = one["pixels"]["native"]["l2"]
    if stored_l2:
        by_norm = floored(stored_l2, 0) if stored_l2 >= 10 else readable(stored_l2)
        pixels += f" (pixels alone: any change of the stored values of l2 norm below {by_norm})"
    return f"{alone}{limit} together with {pixels}, where the squares of both shares of their limits sum to < 1"


def _sentence(one: Mapping[str, Any], words: str, *, eta: float, overlap: int) -> str:
    name, m = one["change"]["name"], one["spec"]["n_samples"]
    drawn = f"{one['spec']['sigma']:g}"
    if one["pixels"] is not None:
        drawn += f", and {one['pixels']['sigma']:g} in the pixels"
    if not words:
        return (
            f"{name}: abstain: {m} copies support no change of it but 0, so nothing is claimed (confidence "
            f"1 - {raised(eta)}, noise {drawn})."
        )
    return (
        f"{name}: at least {overlap} of the {one['spec']['top_k']} highlighted cells stay for {words}; population "
        f"level, probability >= 1 - {raised(eta)} over the noise ({drawn}) of {m} copies."
    )
