"""Certificate to JSON and back; the schema is ``monai_robustinterp/schemas/certificate.schema.json``."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from monai_robustinterp.certificates.certificate import Certificate, LabelAndMap, LabelCertificate, Radius
from monai_robustinterp.certificates.certify import assumptions
from monai_robustinterp.certificates.units import radius_units
from monai_robustinterp.types import SmoothingSpec

CERTIFICATE_FORMAT = "monai_robustinterp/certificate/6"
_DOWN = 1 - 1e-12  # more than the round-off of a division
UNIT = (
    "l2 over the values of the network's single-channel input, whose display range is [0, 1]; rms and l_inf per pixel "
    "in the same unit; rms_gray_levels on its 0-255 scale"
)


def certificate_to_json(certificate: Certificate) -> dict[str, Any]:
    """A JSON object; an unbounded (plug-in) radius is the string "Infinity"."""
    cert = certificate
    return {
        "format": CERTIFICATE_FORMAT,
        "status": cert.status.label,
        "sentence": cert.sentence,
        "claim": {
            "level": "population",
            "sentence": cert.map_sentence,
            "beta": cert.beta,
            "eta": cert.eta,
            "confidence": 1 - cert.eta,
            "per": "image",
            "top_k": cert.spec.top_k,
            "overlap": cert.overlap,
            "overlap_by_chance": cert.overlap_by_chance,
            "swap_count": cert.swap_count,
            "allowed_wrong_bounds": cert.allowed_wrong_bounds,
            "n_cells": cert.n_cells,
            "n_pixels": cert.n_pixels,
            "l_max": _in_units(cert.l_max, cert.n_pixels),
            "l_max_in_noise": cert.l_max / cert.spec.sigma * _DOWN,
            "ceiling": {"l2": cert.ceiling, "share": cert.ceiling_share},
            "unit": UNIT,
            "assumptions": assumptions(cert.spec),
        },
        "radii": [_radius_to_json(r, cert.n_pixels) for r in cert.radii],
        "label": dataclasses.asdict(cert.label),
        "label_and_map": dataclasses.asdict(cert.label_and_map),
        "notes": list(cert.notes),
        "spec": spec_to_json(cert.spec),
    }


def certificate_from_json(data: dict[str, Any]) -> Certificate:
    """The certificate of :func:`certificate_to_json`; derived numbers in the JSON are not read.

    Raises:
        ValueError: if the format is another one.
    """
    if data.get("format") != CERTIFICATE_FORMAT:
        raise ValueError(f"the format is {data.get('format')!r}; this version reads {CERTIFICATE_FORMAT!r}.")
    claim = data["claim"]
    return Certificate(
        beta=claim["beta"],
        eta=claim["eta"],
        swap_count=claim["swap_count"],
        allowed_wrong_bounds=claim["allowed_wrong_bounds"],
        overlap=claim["overlap"],
        n_cells=claim["n_cells"],
        n_pixels=claim["n_pixels"],
        radii=tuple(_radius_from_json(r) for r in data["radii"]),
        ceiling=claim["ceiling"]["l2"],
        map_sentence=claim["sentence"],
        label=LabelCertificate(**data["label"]),
        label_and_map=LabelAndMap(**data["label_and_map"]),
        notes=tuple(data["notes"]),
        spec=spec_from_json(data["spec"]),
    )


def spec_to_json(spec: SmoothingSpec) -> dict[str, Any]:
    """The spec as a JSON object."""
    return dataclasses.asdict(spec) | {"looks": list(spec.looks)}


def spec_from_json(data: dict[str, Any]) -> SmoothingSpec:
    """The spec of :func:`spec_to_json`.

    Raises:
        KeyError: if it does not say what function was smoothed.
    """
    fixed = ("brightness", "tilt", "interpreter_settings", "denoiser", "explains_target", "precision")
    return SmoothingSpec(**data | {key: data[key] for key in fixed} | {"looks": tuple(data["looks"])})


def _in_units(l2: float, n_pixels: int) -> dict[str, Any]:
    return {name: _number(value) for name, value in dataclasses.asdict(radius_units(l2, n_pixels)).items()}


def _radius_to_json(radius: Radius, n_pixels: int) -> dict[str, Any]:
    entry = {
        "level": radius.level,
        "family": radius.family,
        **_in_units(radius.l2, n_pixels),
        "sentence": radius.sentence,
    }
    if radius.epsilon is not None and radius.alpha is not None:
        entry |= {"epsilon": _number(radius.epsilon), "alpha": radius.alpha}
    return entry


def _radius_from_json(entry: dict[str, Any]) -> Radius:
    epsilon = entry.get("epsilon")
    return Radius(
        level=entry["level"],
        family=entry["family"],
        l2=float(entry["l2"]),
        sentence=entry["sentence"],
        epsilon=None if epsilon is None else float(epsilon),
        alpha=entry.get("alpha"),
    )


def _number(value: float) -> float | str:
    return "Infinity" if math.isinf(value) else value
