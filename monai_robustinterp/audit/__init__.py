"""Independent audit of a certificate: mpmath and plain loops, nothing of the package that wrote it."""

from monai_robustinterp.audit.attention import ATTENTION_FORMAT as ATTENTION_FORMAT
from monai_robustinterp.audit.attention import RegionRow as RegionRow
from monai_robustinterp.audit.attention import read_regions as read_regions
from monai_robustinterp.audit.attention import verify_attention as verify_attention
from monai_robustinterp.audit.files import read_record as read_record
from monai_robustinterp.audit.plane import PLANE_FORMAT as PLANE_FORMAT
from monai_robustinterp.audit.plane import PolygonRow as PolygonRow
from monai_robustinterp.audit.plane import read_polygons as read_polygons
from monai_robustinterp.audit.plane import verify_plane as verify_plane
from monai_robustinterp.audit.ranges import RANGES_FORMAT as RANGES_FORMAT
from monai_robustinterp.audit.ranges import verify_ranges as verify_ranges
from monai_robustinterp.audit.strict import AuditError as AuditError
from monai_robustinterp.audit.verify import AuditReport as AuditReport
from monai_robustinterp.audit.verify import verify as verify
