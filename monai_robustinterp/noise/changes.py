"""The kinds of change that have a certified range, by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.noise.gray_changes import BrightnessNoise, ContrastNoise, GammaNoise, SlopeNoise
from monai_robustinterp.noise.semantic import SemanticNoise
from monai_robustinterp.noise.shift_changes import ShiftDownNoise, ShiftNoise
from monai_robustinterp.noise.window_changes import WindowCenterNoise, WindowWidthNoise

SEMANTIC_NOISES: dict[str, type[SemanticNoise]] = {
    one.name: one
    for one in (
        BrightnessNoise,
        ContrastNoise,
        GammaNoise,
        SlopeNoise,
        WindowCenterNoise,
        WindowWidthNoise,
        ShiftNoise,
        ShiftDownNoise,
    )
}
_OF_THE_FILM = "window"


def make_semantic_noise(name: str, **settings: Any) -> SemanticNoise:
    """The semantic noise of that name.

    Args:
        name: a key of ``SEMANTIC_NOISES``.
        settings: its attributes, but for what the film decides.

    Raises:
        InputRefused: if there is none, it has no such setting, or a setting is out of range.
    """
    if name not in SEMANTIC_NOISES:
        raise InputRefused(
            f"there is no certified range of {name!r}: choose of {', '.join(SEMANTIC_NOISES)}, or pass --exact."
        )
    known = sorted({setting.name for setting in fields(SEMANTIC_NOISES[name])} - {_OF_THE_FILM})
    if not set(settings) <= set(known):
        raise InputRefused(f"{name!r} has the settings {known}, and was given {sorted(settings)}.")
    return SEMANTIC_NOISES[name](**settings)
