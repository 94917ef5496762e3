"""``python -m components.clean ARCHIVE FINDINGS --policy policy.yaml``: see what a policy would do, then do it."""

import sys

from components.clean.command_line import main

sys.exit(main(sys.argv[1:]))
