"""A segmenter that marks two boxes on every film, and its bundle folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from monai_robustinterp.networks.lung_fields import LungFields

LEFT, RIGHT = (24, 112, 8, 56), (24, 112, 72, 120)  # first and last row, first and last column, of 128


class Boxes(nn.Module):
    """Logits of boxes on an image of 128 x 128, whatever it shows."""

    def __init__(self, *boxes: tuple[int, int, int, int], logit: float = 9.0) -> None:
        super().__init__()
        mask = torch.full((1, 1, 128, 128), -logit)
        for top, bottom, left, right in boxes:
            mask[..., top:bottom, left:right] = logit
        self.logits = nn.Parameter(mask)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits + 0 * image


def boxed(*boxes: tuple[int, int, int, int], name: str = "boxes", logit: float = 9.0) -> LungFields:
    """A segmenter that finds the boxes of 128 rows and columns; without any, those of two lungs."""
    return LungFields(Boxes(*(boxes or (LEFT, RIGHT)), logit=logit), name=name, version="1")


def boxes_bundle(folder: Path, *boxes: tuple[int, int, int, int]) -> Path:
    """The folder of a bundle that defines such a segmenter as a TorchScript file."""
    (folder / "configs").mkdir(parents=True)
    torch.jit.script(Boxes(*(boxes or (LEFT, RIGHT)))).save(str(folder / "model.ts"))
    lung_fields = {
        "_target_": "monai_robustinterp.networks.LungFields",
        "network": "$monai_robustinterp.bundle.load_torchscript(@bundle_root + '/model.ts')",
        "name": "boxes",
        "version": "1",
    }
    config = {"imports": ["$import monai_robustinterp"], "bundle_root": ".", "lung_fields": lung_fields}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    return folder
