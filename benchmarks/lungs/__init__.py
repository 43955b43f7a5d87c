"""Lung fields, models that look at them, and the alarm on a model that does not."""
