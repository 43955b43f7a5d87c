"""Shipped bundles that tests name."""

OPACITY = "chest_xray_certified_saliency"
"""The DenseNet with the gradient: copies are fast, and its network is like that of users."""

CERTIFY = ("certify", "--bundle", OPACITY)
ATTENTION = ("attention", "--bundle", OPACITY)
"""Commands with that bundle."""
