"""An evaluation as files: figures with the hash of the weights that they are about."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monai
import torch

from monai_robustinterp._version import __version__
from monai_robustinterp.files import atomic_write, file_sha256, json_bytes


def write_evaluation(
    groups: Mapping[str, Any], folder: str | Path, *, weights: str | Path, settings: Mapping[str, Any]
) -> None:
    """Writes ``evaluation.json`` and the same figures as a table, ``evaluation.md``.

    Args:
        groups: result of :func:`~monai_robustinterp.training.evaluation.evaluate`.
        folder: where the two files go; made if it is missing.
        weights: file of the evaluated weights; its SHA-256 is recorded.
        settings: what the run was told: epochs, seed and so on.
    """
    report = {
        "weights_sha256": file_sha256(weights),
        "settings": dict(settings),
        "software": {
            "monai_robustinterp": __version__,
            "monai": monai.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
        },
        "groups": dict(groups),
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    atomic_write(Path(folder) / "evaluation.json", lambda file: file.write(json_bytes(report)), overwrite=True)
    table = evaluation_table(groups)
    atomic_write(Path(folder) / "evaluation.md", lambda file: file.write(table.encode()), overwrite=True)


def evaluation_table(groups: Mapping[str, Any]) -> str:
    """The figures of an evaluation as a Markdown table; intervals at 95 %."""
    sigmas = list(next(iter(groups.values()))["auc"])
    noisy = [sigma for sigma in sigmas if sigma != "0"]
    columns = [
        "group",
        "with / without (patients)",
        *(f"AUC, sigma {sigma}" for sigma in sigmas),
        "sensitivity",
        "specificity",
        *(f"agreement (kappa), sigma {sigma}" for sigma in noisy),
    ]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for name, group in groups.items():
        cells = [
            name,
            f"{group['n_positive']} / {group['n_negative']} ({group['n_patients']})",
            *(_interval(group["auc"][sigma]) for sigma in sigmas),
            _interval(group["sensitivity"]),
            _interval(group["specificity"]),
            *(f"{_interval(group['agreement'][sigma])} ({group['kappa'][sigma]:.2f})" for sigma in noisy),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _interval(figures: Mapping[str, float]) -> str:
    return f"{figures['value']:.3f} [{figures['low']:.3f}, {figures['high']:.3f}]"
