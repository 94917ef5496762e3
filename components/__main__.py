"""``python -m components --version``: a sign of life from an image or an installation."""

import argparse

from components import __version__

parser = argparse.ArgumentParser(
    prog="python -m components", description="Runs nothing: the pipeline does, see README."
)
parser.add_argument("--version", action="version", version=__version__)
parser.parse_args()
