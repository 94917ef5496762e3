"""Audit embeddings: what a pretrained network sees in the images that pixels alone do not tell."""
