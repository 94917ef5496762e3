"""The container tests run where docker and this tree's images are; ``make test-docker`` sees to both."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from components import images

PACKAGE = Path(images.__file__).parent
DIGEST_PROGRAM = """
import hashlib, pathlib
root = pathlib.Path("/opt/suite/components")
for path in sorted(root.rglob("*")):
    if path.is_file():
        print(path.relative_to(root), hashlib.sha256(path.read_bytes()).hexdigest())
"""


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def what_is_missing() -> str:
    """Return why the tests cannot run here, empty when they can."""
    here = []
    for path in sorted(PACKAGE.rglob("*")):
        if path.is_file() and not {"__pycache__", "launch"} & set(path.relative_to(PACKAGE).parts):
            here.append(f"{path.relative_to(PACKAGE)} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    for image in (images.DATA, images.TRAINING):
        try:
            found = docker("image", "inspect", image)
        except FileNotFoundError:
            return "docker is not installed"
        if found.returncode:
            return found.stderr.strip().splitlines()[-1]
        inside = docker("run", "--rm", "--network", "none", image, "python3", "-c", DIGEST_PROGRAM).stdout
        if sorted(inside.splitlines()) != sorted(here):
            return f"{image} was built from other code than this"
    return ""


@pytest.fixture(scope="session", autouse=True)
def _docker_and_images() -> None:
    if missing := what_is_missing():
        # make test-docker promises these tests: there, skipping them would be a lie.
        (pytest.fail if os.environ.get("CONTAINER_TESTS") == "required" else pytest.skip)(
            f"{missing}; to run the components in their containers: make test-docker"
        )
