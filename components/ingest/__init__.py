"""Ingest: take a dataset from a ZIP or from class folders into an archive, safely and completely accounted for."""
