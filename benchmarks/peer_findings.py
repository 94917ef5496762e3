"""What another tool finds in a folder, as JSON; runs in that tool's own environment.

    PYTHON benchmarks/peer_findings.py TOOL FOLDER OUTPUT.json

writes ``{"version": ..., "issues": {issue: [path, ...]}, "sets": {issue: [[path, ...], ...]}}`` with paths relative to
the folder. Imports nothing of this project.
"""

import contextlib
import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any


def with_cleanvision(folder: Path) -> dict[str, Any]:
    """Run every check of cleanvision with its defaults."""
    laboratory = importlib.import_module("cleanvision").Imagelab(data_path=str(folder))
    laboratory.find_issues(n_jobs=1, verbose=False)
    table = laboratory.issues
    flags = [column for column in table.columns if column.startswith("is_") and column.endswith("_issue")]
    issues = {
        flag.removeprefix("is_").removesuffix("_issue"): _relative(table.index[table[flag]], folder) for flag in flags
    }
    sets = {
        name: [_relative(members, folder) for members in laboratory.info[name]["sets"]]
        for name in ("exact_duplicates", "near_duplicates")
    }
    return {"issues": issues, "sets": sets}


def with_imagededup(folder: Path) -> dict[str, Any]:
    """Run perceptual hashing of imagededup with its default distance, 10."""
    found = (
        importlib.import_module("imagededup.methods")
        .PHash(verbose=False)
        .find_duplicates(image_dir=str(folder), recursive=True, num_enc_workers=0)
    )
    pairs = [sorted((path, other)) for path, others in found.items() for other in others if path < other]
    return {"issues": {}, "sets": {"phash": sorted(pairs)}}


TOOLS = {"cleanvision": with_cleanvision, "imagededup": with_imagededup}


def _relative(paths: Any, folder: Path) -> list[str]:
    return sorted(Path(path).resolve().relative_to(folder).as_posix() for path in paths)


def main() -> None:
    """Run one tool."""
    tool, folder, output = sys.argv[1], Path(sys.argv[2]).resolve(), Path(sys.argv[3])
    with contextlib.redirect_stdout(sys.stderr):
        found = TOOLS[tool](folder)
    found["version"] = importlib.metadata.version(tool)
    output.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
