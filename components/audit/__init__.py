"""Audit: one pass over an archive that finds what should not be trained on, and says why."""
