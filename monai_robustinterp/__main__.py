"""``python -m monai_robustinterp``."""

import sys

from monai_robustinterp.cli.main import main

sys.exit(main())
