"""``python -m components.audit SOURCE --report out.html``."""

import os
import sys

# Arrow's own allocator holds on to tens of megabytes of what small tables needed for a moment. It reads this once.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

from components.audit.command_line import main

sys.exit(main(sys.argv[1:]))
