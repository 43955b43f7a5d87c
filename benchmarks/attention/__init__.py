"""Exact attention verification: how far it comes, in what time, and on what the time depends."""
