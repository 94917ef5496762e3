"""The main job from a bucket to a registered model, on this machine: what ``make demo`` runs.

Starts a Cloud Storage emulator on loopback, uploads ``samples/animals.zip`` to a bucket there, compiles the pipeline
for both targets and runs all eight components on it.
"""

import argparse
import datetime
import os
import subprocess
import sys
from pathlib import Path

from google.cloud import storage

from components.launch.gcs_emulator import gcs_emulator

ROOT = Path(__file__).resolve().parent.parent


def upload_sample(bucket: str) -> str:
    """Upload the sample dataset to a new bucket of the emulator that STORAGE_EMULATOR_HOST names; return its URI."""
    client = storage.Client.create_anonymous_client()
    client.project = "demo"
    blob = client.create_bucket(bucket).blob("Animals.zip")
    blob.upload_from_filename(str(ROOT / "samples" / "animals.zip"))
    return f"gs://{bucket}/Animals.zip"


def main() -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--inception-v3-weights",
        type=Path,
        metavar="FILE",
        help="run on InceptionV3 with this file of ImageNet weights (Keras' notop .h5) instead of EfficientNet-Lite0",
    )
    options = parser.parse_args()

    pipeline = [sys.executable, str(ROOT / "pipeline.py")]
    for target in ("kubeflow", "vertex"):
        subprocess.run([*pipeline, "--compile", "--target", target], cwd=ROOT, check=True)

    with gcs_emulator() as emulator_url:
        os.environ["STORAGE_EMULATOR_HOST"] = emulator_url
        source = upload_sample("animal-photos")
        print(f"uploaded samples/animals.zip to {source} in a Cloud Storage emulator at {emulator_url}\n", flush=True)
        now = datetime.datetime.now(tz=datetime.UTC)
        run = [*pipeline, "--run", "local", "--source", source]
        run += ["--config", str(ROOT / "manifests" / "runs" / "demo.yaml")]
        run += ["--output", str(ROOT / "runs" / f"demo-{now:%Y-%m-%d-%H%M%S}")]
        if options.inception_v3_weights:
            weights = options.inception_v3_weights.resolve()
            run += ["--set", "backbone=inception_v3", "--set", f"weights={weights}"]
        return subprocess.run(run, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
