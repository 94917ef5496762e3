"""Damage to the compressed pixels of a JPEG that its decoder reads past: bytes left over, and zeros that nobody codes.

A Huffman decoder falls into step again soon after damage, with whole blocks too many or too few, and libjpeg then takes
the file for whole. Nothing here decodes anything: it looks at bytes around what was complained about, and for zeros.
"""

import itertools
import re
from collections.abc import Iterator

import numpy as np

from components.formats.stored_pixels import jpeg_header

_EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")

_STRAY_BYTES = 15
"""So many bytes too many, at most, are what cameras leave behind, and no sign of damage."""

_LOOKED_AT = 256  # bytes

_PADDING_VALUES = 4
"""Padding repeats a byte or a short pattern; compressed pixels have most of 256 values, even in a few bytes."""

_ZEROS = bytes(32)
"""Of standard tables, 85 coefficients of brightness in a row would each be -1 for so many zeros: more than a block has.

Of other tables at least a third of a block, likewise.
"""

_WORD = 8  # bytes

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # but restarts, which are part of a scan (ITU T.81, B.1.1.2)
_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN, _HUFFMAN_TABLES = 0xDA, 0xC4  # ITU T.81, table B.1
_END_OF_BLOCK = 0x00
_LAST_END_OF_BAND = 0xE0  # in a progressive scan 0x10 .. 0xe0 end blocks too, several at once (ITU T.81, G.1.2.2)


def leaves_pixels_unread(jpeg: bytes, complaint: str) -> bool:
    """Return whether bytes that the decoder calls extraneous are compressed pixels, which it had no place for.

    Padding and text before the end of an image are harmless and common.

    Args:
        jpeg: The file.
        complaint: What libjpeg says, its first warning.
    """
    said = _EXTRANEOUS.search(complaint)
    header = jpeg_header(jpeg)
    # Where something strange lies between the header's segments, the complaint may be about that.
    if said is None or int(said[1]) <= _STRAY_BYTES or len(header) == len(jpeg):
        return False
    left = _bytes_before(jpeg, bytes((0xFF, int(said[2], 16))), len(header), min(int(said[1]), _LOOKED_AT))
    return bool(left) and not any(map(_is_padding, left))


def _bytes_before(jpeg: bytes, marker: bytes, start: int, size: int) -> list[bytes]:
    """Return what comes before each such marker from ``start`` on, without its fill bytes (B.1.1.2)."""
    places: Iterator[int] = (found.start() for found in re.finditer(re.escape(marker), jpeg[start:]))
    if marker == _END_OF_IMAGE:
        places = itertools.islice(places, 1)  # what follows it may be another image
    return [jpeg[max(0, start + place - size - _LOOKED_AT) : start + place].rstrip(b"\xff")[-size:] for place in places]


def _is_padding(some: bytes) -> bool:
    return len(set(some)) <= _PADDING_VALUES or (some.isascii() and b"\0" not in some)


def has_zeros_nobody_codes(jpeg: bytes) -> bool:
    """Return whether zeros lie in a scan where its Huffman tables give them no sense.

    The all-zero code is that of the commonest symbol. In a flat image that may be the end of the block, and zeros go on
    as long as the image is flat. If it is a coefficient, zeros say that every coefficient of a block has one value, the
    lowest of its size, which no picture has.

    Of sequential and progressive JPEGs; never of scans that refine, whose bits are raw. Zeros that reach the end of the
    image are padding: were they in place of pixels, pixels would be missing.
    """
    start = len(jpeg_header(jpeg)) // _WORD
    words = len(jpeg) // _WORD - start
    # So many zeros hold whole words, which are found in a quarter of the time.
    if words <= 0 or np.frombuffer(jpeg, np.uint64, words, start * _WORD).min() > 0:
        return False
    zeros = jpeg.find(_ZEROS, start * _WORD)
    return zeros >= 0 and _are_senseless(jpeg, zeros)


def _are_senseless(jpeg: bytes, zeros: int) -> bool:
    """Return whether the first zeros, at this place, are in a scan with a table that gives them no sense."""
    commonest: dict[int, int] = {}
    place = 2
    while (marker := _MARKER.search(jpeg, place)) and marker.start() < zeros:
        code, start = jpeg[marker.start() + 1], marker.end()
        place = start + int.from_bytes(jpeg[start : start + 2], "big")
        if code == _HUFFMAN_TABLES:
            commonest |= _commonest_symbols(jpeg[start + 2 : place])
        elif code == _START_OF_SCAN:
            following = _MARKER.search(jpeg, place)
            end = len(jpeg) if following is None else following.start()
            if zeros < end:
                is_padding = not jpeg[zeros:end].strip(b"\0\xff")
                return zeros >= place and not is_padding and _codes_coefficients(jpeg, start, commonest)
    return False


def _commonest_symbols(tables: bytes) -> dict[int, int]:
    """Return the symbol with the all-zero code by class and number of each table (ITU T.81, B.2.4.2)."""
    symbols = {}
    while len(tables) > 17:
        symbols[tables[0]] = tables[17]
        tables = tables[17 + sum(tables[1:17]) :]
    return symbols


def _codes_coefficients(jpeg: bytes, start: int, commonest: dict[int, int]) -> bool:
    """Return whether the all-zero code is a coefficient in any component of a scan (ITU T.81, B.2.3).

    Args:
        jpeg: The file.
        start: Where the parameters of the scan begin.
        commonest: Of each table, AC tables from 16 on.
    """
    components = jpeg[start + 2]
    parameters = jpeg[start : start + 6 + 2 * components]
    if len(parameters) < 6 + 2 * components:
        return False
    tables = [0x10 | parameters[4 + 2 * number] & 0xF for number in range(components)]
    last_coefficient, approximation = parameters[-2:]
    if last_coefficient == 0 or approximation >> 4:  # averages alone, or a refinement
        return False
    symbols = [commonest.get(table, _END_OF_BLOCK) for table in tables]
    return any(symbol & 0xF != 0 or symbol > _LAST_END_OF_BAND for symbol in symbols)
