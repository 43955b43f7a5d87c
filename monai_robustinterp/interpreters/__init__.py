"""Interpretation methods, one a file, and the context manager that holds the network for them."""

from monai_robustinterp.interpreters.base import Attribution as Attribution
from monai_robustinterp.interpreters.base import Interpreter as Interpreter
from monai_robustinterp.interpreters.grad_cam import GradCAM as GradCAM
from monai_robustinterp.interpreters.gradient import Gradient as Gradient
from monai_robustinterp.interpreters.model_context import explaining as explaining
from monai_robustinterp.interpreters.registry import INTERPRETERS as INTERPRETERS
from monai_robustinterp.interpreters.registry import interpreter_class as interpreter_class
from monai_robustinterp.interpreters.registry import without_hooks as without_hooks
