"""``python -m components.audit SOURCE --report out.html``."""

import sys

from components.audit.command_line import main

sys.exit(main(sys.argv[1:]))
