"""Samples per second and peak memory beside the bare loop, Captum and zennit (docs/performance.md)."""
