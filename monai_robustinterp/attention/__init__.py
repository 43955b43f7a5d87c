"""Attention verification: for which strengths of a perturbation decision and map provably stay.

Exact, for the unsmoothed network: a piecewise linear one, in float64, along one parameter in which the image is affine
(docs/theory/attention.md).

Reference: Munakata et al., "Verifying Attention Robustness of Deep Neural Networks against Semantic Perturbations",
NASA Formal Methods 2023, arXiv 2207.05902.
"""

from monai_robustinterp.attention.line import Line as Line
from monai_robustinterp.attention.line import Piece as Piece
from monai_robustinterp.attention.parts import Parts as Parts
from monai_robustinterp.attention.perturbations import PERTURBATIONS as PERTURBATIONS
from monai_robustinterp.attention.perturbations import Brightness as Brightness
from monai_robustinterp.attention.perturbations import Contrast as Contrast
from monai_robustinterp.attention.perturbations import Patch as Patch
from monai_robustinterp.attention.perturbations import Perturbation as Perturbation
from monai_robustinterp.attention.perturbations import Slope as Slope
from monai_robustinterp.attention.perturbations import make_perturbation as make_perturbation
from monai_robustinterp.attention.properties import AttentionRobustness as AttentionRobustness
from monai_robustinterp.attention.properties import ClassificationRobustness as ClassificationRobustness
from monai_robustinterp.attention.properties import Property as Property
from monai_robustinterp.attention.properties import TopKOverlap as TopKOverlap
from monai_robustinterp.attention.verify import Reach as Reach
from monai_robustinterp.attention.verify import Region as Region
from monai_robustinterp.attention.verify import Traversal as Traversal
from monai_robustinterp.attention.verify import traverse as traverse
from monai_robustinterp.attention.walk import Section as Section
from monai_robustinterp.attention.walk import walk as walk
