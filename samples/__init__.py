"""Sample data and the demo on it."""
