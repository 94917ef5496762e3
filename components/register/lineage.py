"""Where a model comes from: what was read, by which code, in which image, with which packages."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.images import IMAGE_REFERENCE_VARIABLE

CODE_REVISION_VARIABLE = "CODE_REVISION"
"""Environment variable with the revision of the code, set in the images; elsewhere git is asked."""

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a model comes from, as the run knows it.

    Attributes:
        source: Where the images came from.
        source_fingerprint: What the source held at submission; empty when the run was not told. Splits that tell what
            was read go before it.
        pipeline_run: Name of the run that trained it.
        licence: Under which the model may be used, in words; empty when nobody said.
    """

    source: str
    pipeline_run: str
    source_fingerprint: str = ""
    licence: str = ""


def value_sha256(value: Mapping[str, Any]) -> str:
    """Return the SHA-256 of settings, whatever the order they were given in."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def image_reference() -> str:
    """Return the container image that registers, as whoever placed the step named it; ``unknown`` where nobody did."""
    return os.environ.get(IMAGE_REFERENCE_VARIABLE) or "unknown"


@functools.cache
def code_revision() -> str:
    """Return the commit of this code, ``-dirty`` when it was changed since, and ``unknown`` where nobody says."""
    if told := os.environ.get(CODE_REVISION_VARIABLE):
        return told
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    # An installed package may lie in somebody else's repository: only a checkout has its tests beside it.
    is_ours = result.returncode == 0 and (_PACKAGE.parent / "pipeline.py").is_file()
    return result.stdout.strip() if is_ours else "unknown"


@functools.cache
def installed_packages() -> str:
    """Return ``name==version`` of each installed package, sorted, a line each: the lock as it was installed."""
    found = {(item.metadata["Name"] or "?", item.version) for item in importlib.metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found, key=lambda item: item[0].lower()))
