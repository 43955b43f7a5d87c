"""One image interpreted by several methods, side by side. Ordinary interpretations: nothing here is certified."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor

from monai_robustinterp.bundle import SaliencyBundle
from monai_robustinterp.errors import InputRefused, refusal_reason
from monai_robustinterp.files import atomic_write, json_bytes
from monai_robustinterp.interpreters import Interpreter, check_precision, explaining
from monai_robustinterp.interpreters.base import IterativeInterpreter
from monai_robustinterp.interpreters.mask_optimization import MaskInterpreter, MaskSnapshot
from monai_robustinterp.interpreters.reference_image import Blend
from monai_robustinterp.io.read.reader import source_record
from monai_robustinterp.io.write.map_nifti import save_map
from monai_robustinterp.networks.findings import Findings
from monai_robustinterp.networks.provenance import provenance
from monai_robustinterp.smoothing.recipe import Progress, Recipe
from monai_robustinterp.smoothing.voting import NonFiniteMapError, pool_cells
from monai_robustinterp.transforms import InvertSaliencyd
from monai_robustinterp.types import top_k_set
from monai_robustinterp.visualize.mask_iterations import MaskIteration, mask_iterations_figure, probability_table
from monai_robustinterp.visualize.panel import Panel, panel_figure

FORMAT = "monai_robustinterp/comparison/1"
CLAIM = "none: ordinary interpretations, which a tiny change of the image may move; `certify` makes a claim"

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PlainMap:
    """What one method says of the image.

    Attributes:
        label: name of its files: the interpreter's, with a number if it was asked for twice.
        interpreter: with its settings.
        values: raw values on the network's grid, float32 [H, W]; larger = more important.
        iterations: of the optimization behind it, if there is one.
        elapsed_s: seconds.
    """

    label: str
    interpreter: Interpreter
    values: Array
    iterations: tuple[MaskIteration, ...]
    elapsed_s: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Interpretations of one image.

    Attributes:
        image: the network's input [1, H, W], with the metadata of its source.
        bundle: classifier, preprocessing, finding and cells.
        target: the explained logit.
        logits: of the image, float32 [classes].
        maps: one a method that gave a map, in order, at least one.
        refused: label of each other method, and why it gave none.
        input_warnings: what is doubtful in the image.
    """

    image: MetaTensor
    bundle: SaliencyBundle
    target: int
    logits: Array
    maps: tuple[PlainMap, ...]
    refused: dict[str, str]
    input_warnings: tuple[str, ...] = ()


def compare(
    source: str | Path,
    bundle: SaliencyBundle,
    interpreters: Sequence[Interpreter],
    *,
    progress: Callable[[str, int], Progress] | None = None,
) -> Comparison:
    """Interprets one image file by each method. What a method refuses is recorded, and the rest goes on.

    Args:
        source: DICOM, NIfTI or PNG/JPEG file.
        bundle: classifier, preprocessing, finding and cells.
        interpreters: in the order of the panel.
        progress: gives, for a method's label and number of steps, what is called with the number of steps just done.

    Raises:
        InputRefused: if the file is no image that can be explained, or no method gave a map.
        ValueError: if the target is no logit, or a logit is not finite.
    """
    image: MetaTensor = bundle.preprocessed(bundle.preprocessing({"image": str(source)}, end=1))
    clean = image.as_tensor().detach().to(torch.float32)
    input_warnings = bundle.inferer.recipe.check_input(clean)
    maps, refused = [], {}
    precision = bundle.inferer.recipe.precision
    with explaining(bundle.network, precision):
        logits, target = bundle.inferer.recipe.clean_logits(clean, bundle.network)
        for label, interpreter in _labeled(interpreters):
            report = progress(label, _n_steps(interpreter)) if progress is not None else _silent
            try:
                check_precision(interpreter, precision)
                maps.append(_plain_map(label, interpreter, bundle, clean[None].clone(), target, report))
            except Exception as error:
                refused[label] = refusal_reason(error)
    if not maps:
        raise InputRefused("no method gave a map. " + " ".join(f"{label}: {why}" for label, why in refused.items()))
    return Comparison(
        image=image,
        bundle=bundle,
        target=target,
        logits=logits[0].cpu().numpy(),
        maps=tuple(maps),
        refused=refused,
        input_warnings=input_warnings,
    )


def _labeled(interpreters: Sequence[Interpreter]) -> Iterator[tuple[str, Interpreter]]:
    seen: dict[str, int] = {}
    for interpreter in interpreters:
        # A label names files, and some file systems take no colon.
        label = interpreter.name.replace(":", "_")
        seen[label] = number = seen.get(label, 0) + 1
        yield label if number == 1 else f"{label}_{number}", interpreter


def _n_steps(interpreter: Interpreter) -> int:
    return interpreter.n_steps if isinstance(interpreter, IterativeInterpreter) else 1


def _silent(_steps: int) -> None:
    pass


def _plain_map(
    label: str,
    interpreter: Interpreter,
    bundle: SaliencyBundle,
    inputs: torch.Tensor,
    target: int,
    report: Progress,
) -> PlainMap:
    start = time.perf_counter()
    iterations: tuple[MaskIteration, ...] = ()
    if isinstance(interpreter, MaskInterpreter):
        last = interpreter.n_steps
        shown = sorted({0, last // 15, last // 3, last})
        run = interpreter.optimize(bundle.network, inputs, target, snapshots=shown, progress=report)
        attribution, blend = run.attribution, interpreter.blend(inputs)
        iterations = tuple(_iteration(snapshot, blend, bundle.inferer.recipe.findings) for snapshot in run.snapshots)
    elif isinstance(interpreter, IterativeInterpreter):
        attribution = interpreter.attribute(bundle.network, inputs, target, report)
    else:
        attribution = interpreter.attribute(bundle.network, inputs, target)
        report(1)
    if not bool(torch.isfinite(attribution.maps).all()):
        raise NonFiniteMapError("the map has NaN or infinite values: check the network's weights and the settings.")
    return PlainMap(
        label=label,
        interpreter=interpreter,
        values=attribution.maps[0, 0].cpu().numpy(),
        iterations=iterations,
        elapsed_s=time.perf_counter() - start,
    )


def _iteration(snapshot: MaskSnapshot, blend: Blend, findings: Findings) -> MaskIteration:
    return MaskIteration(
        iteration=snapshot.iteration,
        mask=snapshot.masks[0, 0].cpu().numpy(),
        perturbed=blend(snapshot.masks)[0, 0].cpu().numpy(),
        reversed=blend(1 - snapshot.masks)[0, 0].cpu().numpy(),
        perturbed_scores=findings.scores(snapshot.perturbed[0].cpu().numpy()),
        reversed_scores=findings.scores(snapshot.reversed[0].cpu().numpy()),
    )


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Writes panel.png, maps.npz, compare.json, a NIfTI a map on the source's grid, and the iterations of masks.

    Args:
        comparison: result of :func:`compare`.
        folder: an existing folder without these files.
    """
    gray, finding = comparison.image[0].cpu().numpy(), _finding(comparison)
    arrays = {"input": gray, "logits": comparison.logits} | {plain.label: plain.values for plain in comparison.maps}
    atomic_write(folder / "maps.npz", lambda file: np.savez_compressed(file, **arrays))
    for plain, values in zip(comparison.maps, _on_source(comparison)):
        save_map(folder / f"{plain.label}.nii.gz", values, comparison.image.meta)
        if plain.iterations:
            title = f"{plain.label}: {finding['name']}"
            figure = mask_iterations_figure(gray, iterations=plain.iterations, title=title, **_classes(comparison))
            _save_figure(folder / f"{plain.label}_iterations.png", figure)
    _save_figure(folder / "panel.png", comparison_figure(comparison))
    atomic_write(folder / "compare.json", lambda file: file.write(json_bytes(comparison_record(comparison))))


def comparison_figure(comparison: Comparison) -> Figure:
    """The input and all maps side by side, each on its own scale, with the cells that it would vote for."""
    recipe, finding = comparison.bundle.inferer.recipe, _finding(comparison)
    panels = [Panel(_title(plain), plain.values, _top_k(plain, recipe)) for plain in comparison.maps]
    title = f"{finding['name']}: score {finding['score']:.2f} (not calibrated); yellow: top {recipe.top_k} cells"
    return panel_figure(comparison.image[0].cpu().numpy(), panels, title=title)


def _title(plain: PlainMap) -> str:
    return plain.label if plain.interpreter.explains_target else f"{plain.label} (of all classes)"


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Content of compare.json: plain values, no names and no dates."""
    classes, bundle = _classes(comparison), comparison.bundle
    maps = [
        {
            "label": plain.label,
            "name": plain.interpreter.name,
            "settings": plain.interpreter.settings,
            "explains_target": plain.interpreter.explains_target,
            "minimum": float(plain.values.min()),
            "maximum": float(plain.values.max()),
            "elapsed_s": plain.elapsed_s,
            "iterations": probability_table(iterations=plain.iterations, **classes),
        }
        for plain in comparison.maps
    ]
    return {
        "format": FORMAT,
        "claim": CLAIM,
        "precision": bundle.inferer.recipe.precision,
        "finding": _finding(comparison),
        "logits": [float(logit) for logit in comparison.logits],
        "maps": maps,
        "refused": [{"label": label, "reason": reason} for label, reason in comparison.refused.items()],
        "input_warnings": list(comparison.input_warnings),
        "source": source_record(comparison.image.meta, comparison.image.shape[-2:]),
        "provenance": provenance(bundle.network, comparison.image, bundle.files),
    }


def _finding(comparison: Comparison) -> dict[str, Any]:
    classes, target = _classes(comparison), comparison.target
    return {"name": classes["class_names"][target], "target": target, "score": float(classes["scores"][target])}


def _classes(comparison: Comparison) -> dict[str, Any]:
    """What tables and pictures of iterations need to know of the classifier."""
    findings = comparison.bundle.inferer.recipe.findings
    return {
        "scores": findings.scores(comparison.logits),
        "class_names": [findings.name(i) for i in range(len(comparison.logits))],
        "target": comparison.target,
    }


def _top_k(plain: PlainMap, recipe: Recipe) -> npt.NDArray[np.bool_]:
    """The cells that a copy with this map would vote for, bool [H, W]; none where a tie leaves that to chance."""
    cells = pool_cells(torch.from_numpy(plain.values)[None, None], recipe.cell_size)[0].numpy()
    top = top_k_set(cells, recipe.top_k)
    if cells[top].min() == cells[~top].max(initial=-np.inf):
        top = np.zeros_like(top)
    return top.repeat(recipe.cell_size, axis=0).repeat(recipe.cell_size, axis=1)


def _on_source(comparison: Comparison) -> Array:
    """The maps on the source's grid, float32 [maps, H, W]; 0 outside the network's field."""
    maps = MetaTensor(torch.from_numpy(np.stack([plain.values for plain in comparison.maps])))
    invert = InvertSaliencyd("maps", transform=comparison.bundle.preprocessing, orig_keys="image")
    values: Array = invert({"image": comparison.image, "maps": maps})["maps"].numpy()
    return values


def _save_figure(path: Path, figure: Figure) -> None:
    # It shows the film, and what is burned into it.
    atomic_write(path, lambda file: figure.savefig(file, format="png"), private=True)
