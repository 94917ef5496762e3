"""ZIP files from strangers: what is safe is read, everything else is refused in a sentence."""

import contextlib
import io
import os
import stat
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.failures import UserError
from components.ingest.limits import Limits, unsafe_reason
from components.ingest.zip_reading import ZipContents
from components.storage import StoredFile

LIMITS = Limits(max_files=1000, max_file_mib=4, max_total_gib=1, max_compression_ratio=100)


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


@contextlib.contextmanager
def opened(data: bytes, directory: Path, limits: Limits = LIMITS) -> Iterator[ZipContents]:
    path = directory / "Animals.zip"
    path.write_bytes(data)
    with contextlib.closing(ZipContents(path, StoredFile("gs://b/Animals.zip", len(data), 7), limits)) as contents:
        yield contents


def read_everything(data: bytes, directory: Path, limits: Limits = LIMITS) -> dict[str, bytes]:
    with opened(data, directory, limits) as contents:
        names = list(contents.sizes)
        return dict(zip(names, contents.read_all(names, 4), strict=True))


FILES = {
    "bird/": b"",
    "bird/owl.jpg": os.urandom(300_000),
    "bird/empty.jpg": b"",
    "fish/Kabeljau-ä.jpg": b"cod" * 1000,
}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_files_are_read_compressed_or_not(method: int, tmp_path: Path) -> None:
    with opened(zipped(FILES, method), tmp_path) as contents:
        assert contents.sizes == {name: len(data) for name, data in FILES.items() if not name.endswith("/")}
        names = ["fish/Kabeljau-ä.jpg", "bird/owl.jpg", "bird/empty.jpg"]
        assert list(contents.read_all(names, 3)) == [FILES[name] for name in names]
        assert contents.origin("bird/owl.jpg").generation == 7


def test_a_zip_appended_to_a_program_is_read(tmp_path: Path) -> None:
    assert len(read_everything(b"#!/bin/sh\nexit 1\n" * 100 + zipped(FILES), tmp_path)) == 3


@settings(max_examples=50, deadline=None)
@given(name=st.text(st.sampled_from("ab./\\:C\0\n äé"), min_size=1, max_size=12))
def test_only_safe_names_come_out_of_any_zip(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = zipped({"placeholder!": b"owl"})
    encoded = name.encode()
    assert b"placeholder!" in data
    # Written by hand: zipfile itself would tidy the name.
    at = data.index(b"PK\x01\x02")
    central = bytearray(data[at:])
    struct.pack_into("<H", central, 28, len(encoded))
    struct.pack_into("<H", central, 8, 0x800)
    central[46 : 46 + len("placeholder!")] = encoded
    end = central.index(b"PK\x05\x06")
    struct.pack_into("<I", central, end + 12, end)
    with contextlib.suppress(UserError), opened(data[:at] + bytes(central), tmp_path_factory.mktemp("zip")) as contents:
        assert all(unsafe_reason(found) is None for found in contents.sizes)
        assert list(contents.sizes) in ([name], [])


def with_mode(mode: int) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        member = zipfile.ZipInfo("bird/owl.jpg")
        member.external_attr = mode << 16
        archive.writestr(member, "/etc/passwd")
    return target.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped({"bird/owl.jpg": b"owl"}))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    return bytes(data)


def damaged() -> bytes:
    data = bytearray(zipped({"bird/owl.jpg": b"owl" * 100}, zipfile.ZIP_STORED))
    data[60] ^= 1
    return bytes(data)


def duplicate() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("bird/owl.jpg", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("bird/owl.jpg", b"2")
    return target.getvalue()


def overlapping() -> bytes:
    """Let the second entry of the directory point at the first one's bytes."""
    data = bytearray(zipped({"bird/owl.jpg": b"owl", "bird/cod.jpg": b"cod"}))
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    struct.pack_into("<I", data, second + 42, 0)
    return bytes(data)


def understated() -> bytes:
    """Claim that 3 MB of content are 10 bytes."""
    data = bytearray(zipped({"bird/owl.jpg": os.urandom(3_000_000)}))
    struct.pack_into("<I", data, 22, 10)
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, 10)
    return bytes(data)


def unknown_compression() -> bytes:
    data = bytearray(zipped({"bird/owl.jpg": b"owl"}))
    struct.pack_into("<H", data, 8, 9)
    struct.pack_into("<H", data, data.index(b"PK\x01\x02") + 10, 9)
    return bytes(data)


BAD_ZIPS: dict[str, tuple[Callable[[], bytes], str]] = {
    "not a ZIP": (lambda: b"<html>404</html>", "gs://b/Animals.zip is not a ZIP file"),
    "empty": (lambda: b"", "is not a ZIP file"),
    "cut short": (lambda: zipped(FILES)[:-60], "is not a ZIP file, or is cut short"),
    "parent folder": (
        lambda: zipped({"../../etc/cron.d/x": b""}),
        r"not a safe name: it contains an empty, '.' or '..'",
    ),
    "absolute": (lambda: zipped({"/etc/passwd": b""}), "not a safe name: it is an absolute path"),
    "backslash": (lambda: zipped({"bird\\owl.jpg": b""}), "backslash"),
    "drive": (lambda: zipped({"C:/owl.jpg": b""}), "drive letter"),
    "unsafe folder": (lambda: zipped({"../": b"", "bird/owl.jpg": b""}), "not a safe name"),
    "symbolic link": (lambda: with_mode(stat.S_IFLNK | 0o777), "'bird/owl.jpg' in gs://.* is a symbolic link"),
    "device": (lambda: with_mode(stat.S_IFCHR | 0o666), "is a special file"),
    "encrypted": (encrypted, "is encrypted; zip the class folders without a password"),
    "duplicate": (duplicate, "contains 'bird/owl.jpg' twice; rename or remove"),
    "case": (lambda: zipped({"bird/owl.jpg": b"1", "bird/Owl.JPG": b"2"}), "many systems take for the same name"),
    "bad checksum": (damaged, "bird/owl.jpg in gs://b/Animals.zip cannot be unpacked .*CRC-32"),
    "bzip2": (lambda: zipped(FILES, zipfile.ZIP_BZIP2), "by method 12; zip .* with the usual one, deflate"),
    "lzma": (lambda: zipped(FILES, zipfile.ZIP_LZMA), "by method 14"),
    "overlapping": (overlapping, "shares its bytes with another file, as in a zip bomb"),
    "understated size": (understated, "cannot be unpacked"),
    "compression": (unknown_compression, "by method 9"),
    "large file": (
        lambda: zipped({"bird/owl.jpg": os.urandom(5 * 2**20)}),
        "larger than max_file_mib = 4; remove it or",
    ),
    "bomb": (lambda: zipped({"bird/owl.jpg": bytes(4 * 2**20)}), "times its compressed size, as in a zip bomb"),
    "many files": (
        lambda: zipped({f"{n}": b"" for n in range(1001)}),
        "holds 1,001 files, more than max_files = 1,000",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_ZIPS.values(), ids=BAD_ZIPS.keys())
def test_bad_zips_are_refused(make: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_everything(make(), tmp_path)


def test_all_files_together_are_limited_by_what_they_claim(tmp_path: Path) -> None:
    limits = Limits(max_files=2000, max_file_mib=4, max_total_gib=1, max_compression_ratio=10_000)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("bird/0.jpg", bytes(4 * 2**20))
        first = archive.infolist()[0]
        for number in range(1, 257):
            # The same claim again and again costs no bytes; reading would fail, but nothing is read.
            member = zipfile.ZipInfo(f"bird/{number}.jpg")
            archive.writestr(member, b"")
            archive.infolist()[-1].file_size = first.file_size
    with pytest.raises(UserError, match="holds more than max_total_gib = 1; raise"):
        read_everything(target.getvalue(), tmp_path, limits)


def test_small_files_may_compress_well(tmp_path: Path) -> None:
    assert read_everything(zipped({"bird/white.bmp": bytes(900_000)}), tmp_path)["bird/white.bmp"] == bytes(900_000)


def test_a_message_stays_a_sentence_whatever_a_member_is_called(tmp_path: Path) -> None:
    name = f"bird/{'n' * 60_000}.jpg"
    data = bytearray(zipped({name: b"photo" * 100}, zipfile.ZIP_STORED))
    data[data.index(b"photo")] ^= 1  # the checksum of the member no longer fits
    with pytest.raises(UserError, match="cannot be unpacked|not be used|cannot be used") as refused:
        read_everything(bytes(data), tmp_path)
    assert len(str(refused.value)) < 1000
