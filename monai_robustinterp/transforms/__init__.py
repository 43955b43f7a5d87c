"""MONAI transforms, each as array (X) and dictionary (Xd, XD, XDict) version."""

from monai_robustinterp.transforms.certified import CertifiedSaliency as CertifiedSaliency
from monai_robustinterp.transforms.certified import CertifiedSaliencyD as CertifiedSaliencyD
from monai_robustinterp.transforms.certified import CertifiedSaliencyd as CertifiedSaliencyd
from monai_robustinterp.transforms.certified import CertifiedSaliencyDict as CertifiedSaliencyDict
from monai_robustinterp.transforms.crop import CropCenterSquare as CropCenterSquare
from monai_robustinterp.transforms.crop import CropCenterSquareD as CropCenterSquareD
from monai_robustinterp.transforms.crop import CropCenterSquared as CropCenterSquared
from monai_robustinterp.transforms.crop import CropCenterSquareDict as CropCenterSquareDict
from monai_robustinterp.transforms.invert import InvertSaliencyD as InvertSaliencyD
from monai_robustinterp.transforms.invert import InvertSaliencyd as InvertSaliencyd
from monai_robustinterp.transforms.invert import InvertSaliencyDict as InvertSaliencyDict
from monai_robustinterp.transforms.windowing import ScaleDisplayRange as ScaleDisplayRange
from monai_robustinterp.transforms.windowing import ScaleDisplayRangeD as ScaleDisplayRangeD
from monai_robustinterp.transforms.windowing import ScaleDisplayRanged as ScaleDisplayRanged
from monai_robustinterp.transforms.windowing import ScaleDisplayRangeDict as ScaleDisplayRangeDict
