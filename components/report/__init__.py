"""The look of every report: one self-contained page style and one chart style."""
