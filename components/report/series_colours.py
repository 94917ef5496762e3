"""Colours of data, for charts and for what pages draw themselves without matplotlib."""

SERIES = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#06b6d4", "#84cc16", "#ec4899")
"""Readable on light and dark."""
