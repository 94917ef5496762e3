"""The archive: whatever goes in comes out, tar reads it too, and the same images give the same bytes."""

import hashlib
import resource
import tarfile
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.formats.image_archive import (
    CATALOG_COLUMNS,
    SKIPPED_COLUMNS,
    ArchiveReader,
    ArchiveWriter,
    read_catalog,
    read_skipped,
)

# Long and non-ASCII names need extended tar headers before the image's own.
name_parts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=120)
paths = st.lists(name_parts, min_size=2, max_size=4).map("/".join)


def rows(catalog: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(catalog.columns, row, strict=True)) for row in catalog.itertuples(index=False)]


def read(reader: ArchiveReader, row: Mapping[str, Any]) -> bytes:
    return reader.read(row["part"], row["offset"], row["size_bytes"])


def write(images: Mapping[str, bytes], directory: Path, part_size_bytes: int) -> pd.DataFrame:
    directory.mkdir()
    with ArchiveWriter(directory, part_size_bytes) as writer:
        for path, data in images.items():
            writer.add(path, path.split("/")[0], data, source_uri="gs://b/Animals.zip", source_generation=7)
        writer.skip("README.md", "documentation")
        return writer.close()


@settings(max_examples=60, deadline=None)
@given(images=st.dictionaries(paths, st.binary(max_size=3000), max_size=8), part_size_bytes=st.integers(1, 6000))
def test_images_come_back_as_they_went_in(images: dict[str, bytes], part_size_bytes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first"), Path(folder, "second")
        written = write(images, first, part_size_bytes)

        catalog = read_catalog(first)
        pd.testing.assert_frame_equal(catalog, written)
        assert {column: str(catalog[column].dtype) for column in catalog} == dict(CATALOG_COLUMNS)
        with ArchiveReader(first) as reader:
            assert {row["path"]: read(reader, row) for row in rows(catalog)} == images
        assert list(catalog["md5"]) == [hashlib.md5(data).hexdigest() for data in images.values()]

        unpacked = {}
        for part in sorted(first.glob("*.tar")):
            with tarfile.open(part) as tar:
                for member in tar:
                    stream = tar.extractfile(member)
                    assert stream is not None
                    unpacked[member.name] = stream.read()
        assert unpacked == images

        write(images, second, part_size_bytes)
        assert {file.name: file.read_bytes() for file in first.iterdir()} == {
            file.name: file.read_bytes() for file in second.iterdir()
        }


def test_names_of_more_than_100_characters_keep_their_offset(tmp_path: Path) -> None:
    path = f"bird/{'long' * 60}/Eule-ä-梟.jpg"
    [row] = rows(write({path: b"owl"}, tmp_path / "archive", 100))
    assert row["offset"] > 512, "an extended header comes first"
    with ArchiveReader(tmp_path / "archive") as reader:
        assert read(reader, row) == b"owl"


def test_parts_close_at_their_size(tmp_path: Path) -> None:
    images = {f"bird/{number}.jpg": bytes(1000) for number in range(7)}
    catalog = write(images, tmp_path / "archive", 3 * 1536)
    assert list(catalog["part"]) == ["part-00000.tar"] * 3 + ["part-00001.tar"] * 3 + ["part-00002.tar"]


def test_an_empty_archive_has_both_tables(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path, 1000) as writer:
        writer.close()
    assert list(read_catalog(tmp_path).columns) == list(CATALOG_COLUMNS)
    assert list(read_skipped(tmp_path).columns) == list(SKIPPED_COLUMNS)


def test_what_was_skipped_and_recorded_is_kept(tmp_path: Path) -> None:
    with ArchiveWriter(tmp_path, 1000) as writer:
        writer.add("bird/owl.jpg", "bird", b"1", source_uri="x", recorded_label="mammal")
        writer.add("bird/tit.jpg", "bird", b"2", source_uri="x")
        writer.skip("README.md", "documentation")
        writer.close()
    recorded = read_catalog(tmp_path)["recorded_label"]
    assert recorded[0] == "mammal"
    assert recorded.isna().tolist() == [False, True]
    assert read_skipped(tmp_path).to_dict("records") == [{"path": "README.md", "reason": "documentation"}]


def test_threads_share_a_reader(tmp_path: Path) -> None:
    images = {f"bird/{number}.jpg": bytes([number]) * 5000 for number in range(40)}
    catalog = write(images, tmp_path / "archive", 20_000)
    with ArchiveReader(tmp_path / "archive") as reader, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: read(reader, row), rows(catalog))) == list(images.values())


def test_a_truncated_part_is_noticed(tmp_path: Path) -> None:
    [row] = rows(write({"bird/owl.jpg": bytes(1000)}, tmp_path / "archive", 100))
    part = tmp_path / "archive" / row["part"]
    part.write_bytes(part.read_bytes()[:1000])
    with ArchiveReader(tmp_path / "archive") as reader, pytest.raises(EOFError, match="ends inside the image"):
        read(reader, row)


def test_an_archive_may_have_more_parts_than_a_process_may_open_files_by_default(tmp_path: Path) -> None:
    catalog = write({f"bird/{number}.jpg": b"owl" for number in range(300)}, tmp_path / "archive", 1)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = len(list(Path("/dev/fd").iterdir()))  # by the tests before, too
    resource.setrlimit(resource.RLIMIT_NOFILE, (held + 200, limit[1]))
    try:
        with ArchiveReader(tmp_path / "archive") as reader:
            assert {read(reader, row) for row in rows(catalog)} == {b"owl"}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
