"""Which classes a source has, told from the names in it: a ZIP file in a bucket is not downloaded for that."""

import contextlib

from components import storage
from components.ingest.class_folders import find_class_folders
from components.ingest.folder_reading import FolderContents
from components.ingest.limits import Limits
from components.ingest.source import find_source
from components.ingest.zip_reading import ZipContents


def source_classes(uri: str, labels_file: str, limits: Limits) -> list[str]:
    """Return the names of a source's classes, sorted: cleaning refuses to leave one without an image.

    Args:
        uri: A ZIP file or a folder of class folders, gs:// or local.
        labels_file: Name of the labels file inside the source; may be empty.
        limits: What is too much.

    Raises:
        UserError: When the source is missing, unsafe or not of class folders.
        TransientError: When Cloud Storage does not answer.
    """
    source = find_source(uri)
    if source.zipped:
        with storage.opened(uri) as stream, contextlib.closing(ZipContents(stream, source.files[0], limits)) as members:
            names = list(members.sizes)
    else:
        names = list(FolderContents(source, limits).sizes)
    return list(find_class_folders(source.uri, names, labels_file).images_per_class())
