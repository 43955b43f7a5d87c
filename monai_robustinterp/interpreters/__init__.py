"""Interpretation methods, one a file, and the context manager that holds the network for them."""

from monai_robustinterp.interpreters.base import Attribution as Attribution
from monai_robustinterp.interpreters.base import Interpreter as Interpreter
from monai_robustinterp.interpreters.cam import CAM as CAM
from monai_robustinterp.interpreters.captum_attribution import PREFIX, captum_class
from monai_robustinterp.interpreters.context.network_state import explaining as explaining
from monai_robustinterp.interpreters.deep_lift import DeepLift as DeepLift
from monai_robustinterp.interpreters.extremal_perturbation import ExtremalPerturbation as ExtremalPerturbation
from monai_robustinterp.interpreters.grad_cam import GradCAM as GradCAM
from monai_robustinterp.interpreters.grad_cam_pp import GradCAMpp as GradCAMpp
from monai_robustinterp.interpreters.gradient import Gradient as Gradient
from monai_robustinterp.interpreters.gradient_shap import GradientShap as GradientShap
from monai_robustinterp.interpreters.guided_backprop import GuidedBackprop as GuidedBackprop
from monai_robustinterp.interpreters.input_x_gradient import InputXGradient as InputXGradient
from monai_robustinterp.interpreters.integrated_gradients import IntegratedGradients as IntegratedGradients
from monai_robustinterp.interpreters.lrp import LRP as LRP
from monai_robustinterp.interpreters.meaningful_perturbation import MeaningfulPerturbation as MeaningfulPerturbation
from monai_robustinterp.interpreters.registry import FAMILIES as FAMILIES
from monai_robustinterp.interpreters.registry import INTERPRETERS as INTERPRETERS
from monai_robustinterp.interpreters.registry import check_precision as check_precision
from monai_robustinterp.interpreters.registry import interpreter_class as interpreter_class
from monai_robustinterp.interpreters.registry import make_interpreter as make_interpreter
from monai_robustinterp.interpreters.registry import register as register
from monai_robustinterp.interpreters.registry import without_float32 as without_float32
from monai_robustinterp.interpreters.registry import without_gradient as without_gradient
from monai_robustinterp.interpreters.registry import without_hooks as without_hooks
from monai_robustinterp.interpreters.rise import RISE as RISE
from monai_robustinterp.interpreters.robust_activation_map import RobustActivationMap as RobustActivationMap
from monai_robustinterp.interpreters.robust_perturbation import RobustPerturbation as RobustPerturbation
from monai_robustinterp.interpreters.smooth_grad import SmoothGrad as SmoothGrad
from monai_robustinterp.interpreters.spatial import last_spatial_layer as last_spatial_layer
from monai_robustinterp.types import Precision as Precision

# A new method is one file and one line here; the contract tests run over all of them.
register(
    Gradient,
    GradCAM,
    RISE,
    CAM,
    GradCAMpp,
    RobustActivationMap,
    InputXGradient,
    IntegratedGradients,
    DeepLift,
    GuidedBackprop,
    LRP,
    GradientShap,
    SmoothGrad,
    MeaningfulPerturbation,
    ExtremalPerturbation,
    RobustPerturbation,
)
FAMILIES[PREFIX] = captum_class
