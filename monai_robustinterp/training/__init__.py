"""Training and evaluation of the networks that the bundles ship, as parts of a MONAI bundle's ``train.json``."""

from monai_robustinterp.training.denoising import noisy_batches as noisy_batches
from monai_robustinterp.training.denoising import peak_ratios as peak_ratios
from monai_robustinterp.training.denoising import read_films as read_films
from monai_robustinterp.training.denoising import train_denoiser as train_denoiser
from monai_robustinterp.training.evaluation import areas_under_curve as areas_under_curve
from monai_robustinterp.training.evaluation import evaluate as evaluate
from monai_robustinterp.training.evaluation import finding_groups as finding_groups
from monai_robustinterp.training.evaluation import opacity_groups as opacity_groups
from monai_robustinterp.training.evaluation import shift_to_youden as shift_to_youden
from monai_robustinterp.training.learning_curve import LearningCurve as LearningCurve
from monai_robustinterp.training.losses import FindingsLoss as FindingsLoss
from monai_robustinterp.training.losses import finding_labels as finding_labels
from monai_robustinterp.training.losses import positive_weights as positive_weights
from monai_robustinterp.training.report import evaluation_table as evaluation_table
from monai_robustinterp.training.report import write_evaluation as write_evaluation
from monai_robustinterp.training.sampling import balanced_sampler as balanced_sampler
from monai_robustinterp.training.segmentation import mean_dice as mean_dice
from monai_robustinterp.training.segmentation import with_masks as with_masks
from monai_robustinterp.training.tables import chest_xray14 as chest_xray14
from monai_robustinterp.training.tables import chexpert as chexpert
from monai_robustinterp.training.tables import findings_with as findings_with
from monai_robustinterp.training.tables import kermany as kermany
from monai_robustinterp.training.weights import load_trunk as load_trunk
from monai_robustinterp.training.weights import save_weights as save_weights
