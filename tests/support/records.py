"""Votes, the record of their certificate and the arrays of their file, as a run makes them."""

from __future__ import annotations

import json
from importlib.resources import files

SCHEMA = json.loads(files("monai_robustinterp").joinpath("schemas/certificate.schema.json").read_text())
