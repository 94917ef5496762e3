"""``python -m components.audit_embeddings ARCHIVE FINDINGS --report out.html``."""

import sys

from components.audit_embeddings.command_line import main

sys.exit(main(sys.argv[1:]))
