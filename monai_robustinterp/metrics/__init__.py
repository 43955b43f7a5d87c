"""Measures, one variant a file: of maps, of what a mask does to a network, and of classifiers; no page, no plan."""
