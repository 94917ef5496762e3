"""What an archive was made from: it goes with the images, from ``ingest.json`` by ``splits.json`` to the lineage."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from components.formats.image_archive import SUMMARY_FILE


@dataclasses.dataclass(frozen=True)
class SourceRecord:
    """A dataset as it was when it was read.

    Attributes:
        uri: Of the ZIP file or folder.
        fingerprint: SHA-256 over what it held, hexadecimal: names, generations and sizes of objects, names and content
            of local files.
        files: How many files it had.
        generation: Of the object in Cloud Storage that a ZIP file was; 0 for local files, and for folders, whose files
            have one each: the fingerprint covers them.
    """

    uri: str
    fingerprint: str
    files: int
    generation: int = 0


def read_source_record(archive: Path) -> SourceRecord | None:
    """Read what an archive was made from, None when it does not say.

    Raises:
        ValueError: When ``ingest.json`` is damaged.
    """
    path = archive / SUMMARY_FILE
    if not path.is_file():
        return None
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    try:
        zipped = value["kind"] == "zip"
        return SourceRecord(
            uri=value["source"],
            fingerprint=value["fingerprint"],
            files=int(value["objects_total"]),
            generation=int(value["objects"][0]["generation"]) if zipped else 0,
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{SUMMARY_FILE} lacks {error}") from error
