"""Tests of components/register."""
