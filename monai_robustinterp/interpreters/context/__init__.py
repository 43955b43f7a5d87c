"""Model surgery: everything that is done to a network for the time of an interpretation, and undone after it."""
