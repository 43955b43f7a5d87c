"""Window center and width as noise: the same file with another window in its header is the changed film."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_robustinterp.errors import InputRefused
from monai_robustinterp.io.read.reader import ChestXRayReader
from monai_robustinterp.noise.changes import make_semantic_noise
from monai_robustinterp.noise.window_changes import Window, WindowCenterNoise, WindowWidthNoise
from tests.support.cases import collected
from tests.support.dicom_factory import make_dx

CENTER, WIDTH = 1900.5, 2750.0


def display(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Display values of a file, not cut off, and its metadata."""
    values, meta = ChestXRayReader().get_data(str(path))
    low, high = float(meta["display_min"]), float(meta["display_max"])
    return (values.astype(np.float64) - low) / (high - low), meta


def film(folder: Path, center: float, width: float, function: str, *, mono1: bool = False, **more: Any) -> Path:
    elements = {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function, **more}
    name = f"{center}-{width}-{function}-{mono1}.dcm"
    return make_dx(folder / name, mono1=mono1, elements=elements)


def test_a_changed_film_is_the_file_with_another_window(tmp_path) -> None:
    with collected() as case:
        for function in ("LINEAR", "LINEAR_EXACT"):
            for mono1 in (False, True):
                shown, meta = display(film(tmp_path, CENTER, WIDTH, function, mono1=mono1))
                for kind, strength in ((WindowCenterNoise, 0.11), (WindowCenterNoise, -0.2), (WindowWidthNoise, 0.3)):
                    noise = kind().of_film(meta)
                    window = noise.shown_through
                    number = noise.shown(strength)
                    center, width = (number, WIDTH) if kind is WindowCenterNoise else (CENTER, number)
                    center, width = round(center, 2), round(width, 2)  # what a header can say
                    exact = (center - CENTER) / window.span
                    if kind is WindowWidthNoise:
                        exact = math.log((width - window.one) / window.span)
                    other, _ = display(film(tmp_path, center, width, function, mono1=mono1))
                    with case(function, mono1, kind.name, strength):
                        assert (window.center, window.width, window.inverted) == (CENTER, WIDTH, mono1)
                        assert exact == pytest.approx(strength, abs=1e-5)
                        np.testing.assert_allclose(noise.changed(shown, exact), other, atol=2e-6)
                        assert np.abs(noise.changed(shown, -exact) - other).max() > 0.05


def test_ranges_are_the_header_s_numbers_rounded_inwards() -> None:
    linear = Window(center=550.0, width=1024.0, function="LINEAR", source="window 2 of 3", inverted=True)
    exact = replace(linear, function="LINEAR_EXACT")
    center, width = WindowCenterNoise(window=linear), WindowWidthNoise(window=linear)
    assert center.range(0.1) == pytest.approx((550 - 102.3, 550 + 102.3))
    assert center.words(0.1) == "any window center from 448 to 652 (550 in window 2 of 3 of the header, LINEAR)"
    assert width.range(0.1) == pytest.approx((1 + 1023 * math.exp(-0.1), 1 + 1023 * math.exp(0.1)))
    assert width.words(0.1) == "any window width from 927 to 1131 (1024 in window 2 of 3 of the header, LINEAR)"
    assert WindowWidthNoise(window=exact).range(0.1) == pytest.approx((1024 * math.exp(-0.1), 1024 * math.exp(0.1)))
    assert (
        center.words(1e-4) == "any window center from 549.898 to 550.102 (550 in window 2 of 3 of the header, LINEAR)"
    )
    for noise, stated in ((center, 550.0), (width, 1024.0)):
        low, high = noise.range(0.123)
        assert noise.shown(-0.123) < low < high < noise.shown(0.123)
        assert noise.range(0.0) == (stated, stated) and noise.words(0.0) == ""


def test_a_film_without_such_a_window_is_refused(tmp_path) -> None:
    films = {
        "is: window 1 of 1 (SIGMOID). Take brightness": film(tmp_path, CENTER, WIDTH, "SIGMOID"),
        "is: full 12-bit range. Take brightness": make_dx(
            tmp_path / "none.dcm", elements={"WindowCenter": None, "WindowWidth": None}
        ),
        "keeps pixels of this film black whatever the window. Take brightness": film(
            tmp_path,
            CENTER,
            WIDTH,
            "LINEAR",
            ShutterShape="RECTANGULAR",
            ShutterLeftVerticalEdge=20,
            ShutterRightVerticalEdge=200,
            ShutterUpperHorizontalEdge=20,
            ShutterLowerHorizontalEdge=200,
        ),
    }
    with collected() as case:
        for words, path in films.items():
            with case(words), pytest.raises(InputRefused) as refused:
                WindowCenterNoise().of_film(ChestXRayReader().get_data(str(path))[1])
            with case(words):
                assert words in str(refused.value)
    with pytest.raises(InputRefused, match="not stated"):
        WindowWidthNoise().of_film({})
    with pytest.raises(InputRefused, match=r"has the settings \['sigma'\]"):
        make_semantic_noise("window_center", window=3)
