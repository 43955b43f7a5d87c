"""The panel of ordinary maps: what is painted where, and that colors never change their meaning."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from monai_robustinterp.visualize.panel import NOT_CERTIFIED, Panel, panel_figure

GRAY = np.linspace(0, 1, 32 * 32).reshape(32, 32)
TOP = np.zeros((32, 32), bool)
TOP[8:16, 8:16] = True


def figure_of(*maps: np.ndarray):
    return panel_figure(GRAY, [Panel(f"map {i}", values, TOP) for i, values in enumerate(maps)], title="finding")


def painted(values: np.ndarray) -> np.ndarray:
    """RGBA of the map's own layer, [H, W, 4]."""
    layer = figure_of(values).axes[1].images[1]
    rgba = layer.to_rgba(layer.get_array())
    rgba[..., 3] = layer.get_alpha()
    return rgba


def test_evidence_for_is_red_against_is_blue_and_none_is_clear() -> None:
    values = np.zeros((32, 32))
    values[:8], values[24:] = 2.0, -2.0
    rgba = painted(values)
    assert (rgba[:8, :, 0] > rgba[:8, :, 2]).all() and (rgba[24:, :, 2] > rgba[24:, :, 0]).all()
    assert (rgba[8:24, :, 3] == 0).all() and (rgba[:8, :, 3] > 0.5).all()


def test_a_map_of_positive_values_is_never_blue_and_its_sign_is_never_flipped() -> None:
    values = np.random.default_rng(0).random((32, 32))
    rgba = painted(values)
    assert (rgba[..., 0] >= rgba[..., 2]).all()
    order = np.argsort(values.ravel())[: int(0.99 * values.size)]
    assert (np.diff(rgba[..., 3].ravel()[order]) >= 0).all()


@pytest.mark.parametrize("values", [np.zeros((32, 32)), np.eye(32)[::-1] * 1e-30], ids=["all zero", "tiny"])
def test_maps_without_a_scale_are_drawn(values) -> None:
    assert np.isfinite(painted(values)).all()


def test_every_map_has_its_title_color_bar_outline_and_the_figure_its_disclaimer() -> None:
    figure = figure_of(*[GRAY] * 6)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["input of the network", *(f"map {i}" for i in range(6))]
    outlines = [axes for axes in figure.axes if axes.collections and axes.get_title().startswith("map")]
    assert len(outlines) == 6
    assert np.allclose(outlines[0].collections[0].get_edgecolor()[0], to_rgba("yellow"))
    assert figure.get_supxlabel() == NOT_CERTIFIED and "nothing here is certified" in NOT_CERTIFIED
