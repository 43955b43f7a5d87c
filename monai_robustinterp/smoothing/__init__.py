"""From an interpretation to votes: the recipe, the noisy copies in batches, and the running counts."""
