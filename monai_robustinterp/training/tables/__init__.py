"""From folders and label tables of public chest X-ray sets to one list of items for training and validation."""

from monai_robustinterp.training.tables.chest_xray14_set import chest_xray14
from monai_robustinterp.training.tables.chexpert_set import chexpert
from monai_robustinterp.training.tables.common import LabeledImage, findings_with
from monai_robustinterp.training.tables.kermany_set import kermany

__all__ = ["LabeledImage", "chest_xray14", "chexpert", "findings_with", "kermany"]
