"""Mutated images: each becomes a row, within seconds, whatever its bytes. ``benchmarks.hostile_files`` throws more."""

import io
import math
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.hostile_files import Ending, measure_and_show_image, mutated_images, real_images, watch
from components.audit.measurements import Measurement, analyze
from components.formats.check_names import CHECK_MEANINGS

SEED = 77
IMAGES = 220
SIGNATURES = (
    b"\xff\xd8\xff\xe0",
    b"\x89PNG\r\n\x1a\n",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"MM\x00*",
    b"RIFF\x30\0\0\0WEBP",
    b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\0\x40meta",
)


@pytest.fixture(scope="module")
def endings() -> list[Ending]:
    """How mutated images end; absurd dimensions, which take their time, are left to the benchmark."""
    files = [(name, data) for name, data in mutated_images(IMAGES, SEED) if "dimensions" not in name]
    return watch(measure_and_show_image, files)


def test_originals_are_read() -> None:
    for extension, data in real_images(SEED):
        assert analyze(data).error is None, extension


def test_no_mutated_image_crashes_hangs_or_fills_the_memory(endings: list[Ending]) -> None:
    assert [one for one in endings if one.failed] == []


def test_mutations_leave_some_images_readable_and_damage_others_in_different_ways(endings: list[Ending]) -> None:
    outcomes = {one.outcome for one in endings}
    assert {"row: read", "row: truncated", "row: corrupt", "row: not_an_image"} <= outcomes


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(start=st.sampled_from((b"", *SIGNATURES)), rest=st.binary(max_size=400))
def test_any_bytes_give_a_row(start: bytes, rest: bytes) -> None:
    assert_is_a_row(analyzed(start + rest))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_an_image_with_any_few_bytes_changed_gives_a_row(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SMALL)))
    changes = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(changes, min_size=1, max_size=8)):
        content[place] = value
    assert_is_a_row(analyzed(bytes(content)))


def small(image_format: str, mode: str) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((24, 18)).convert(mode).save(buffer, image_format)
    return buffer.getvalue()


SMALL = [
    small(image_format, mode)
    for image_format, mode in (
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("GIF", "P"),
        ("WEBP", "RGB"),
        ("BMP", "RGB"),
        ("TIFF", "RGB"),
    )
]


def analyzed(data: bytes) -> Measurement:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in the audit: what Pillow warns about, checks report
        return analyze(data)


def assert_is_a_row(row: Measurement) -> None:
    if row.error is None:
        assert row.width_px > 0
        assert row.height_px > 0
        assert math.isfinite(row.brightness)
        assert math.isfinite(row.contrast)
    else:
        assert row.cause in CHECK_MEANINGS
        assert 0 < len(row.error) < 500
