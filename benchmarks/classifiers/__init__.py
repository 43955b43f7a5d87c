"""The trainings of the reference classifiers, compared."""
