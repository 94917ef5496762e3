"""``python -m components.register list gs://my-bucket/models``: look into a registry, verify, promote, roll back."""

import sys

from components.register.command_line import main

sys.exit(main(sys.argv[1:]))
