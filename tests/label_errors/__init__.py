"""Tests of components/label_errors."""
