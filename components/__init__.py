"""Kubeflow Pipelines components for image classification, from a ZIP of photos to a registered model."""

__version__ = "0.1.0"
