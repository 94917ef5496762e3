"""Tests of components/report."""
