"""Shared by the steps that train: backbones and their weights, input, training loop, history, export."""
