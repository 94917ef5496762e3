"""Starts ``export_process``, see there."""

import sys

from components.classifier.keras_alone import import_keras_alone

if __name__ == "__main__":
    import_keras_alone()

    from components.classifier.export_process import main

    sys.exit(main(sys.argv[1:]))
