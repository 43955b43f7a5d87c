"""Study: what becomes of any file."""
