"""What the headers of AVIF and HEIF files say, which lie in boxes (ISO/IEC 14496-12, 4.2).

A box is its size, 4 bytes, its name, 4 bytes, and its content. The properties of the image are in boxes deep inside
others; they are looked for by name, which is enough for what is only reported.
"""

from collections.abc import Iterator

# By the brands in the file type box (AV1 Image File Format, 6; ISO/IEC 23008-12, annexes B and E).
_FORMATS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIF"),
}
_MOST_BRANDS_BYTES = 256
_PIXELS = b"mdat"


def format_of(data: bytes) -> str | None:
    """Return AVIF or HEIF for files that say so in their first box; ``None`` for others, and videos."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), _MOST_BRANDS_BYTES)
    brands = (data[at : at + 4] for at in (8, *range(16, end, 4)))
    return next((_FORMATS[brand] for brand in brands if brand in _FORMATS), None)


def declared_pixels(data: bytes) -> int:
    """Return the pixels of the largest image that a file declares (ISO/IEC 23008-12, 6.5.3), 0 when none."""
    sizes = (content[4:12] for content in _contents(data, b"ispe"))
    return max((int.from_bytes(size[:4], "big") * int.from_bytes(size[4:], "big") for size in sizes), default=0)


def is_deep(data: bytes) -> bool:
    """Return whether an image in the file has more than 8 bits a channel (ISO/IEC 23008-12, 6.5.6)."""
    return any(max(content[5 : 5 + content[4]], default=0) > 8 for content in _contents(data, b"pixi") if content[4:])


def is_subsampled(data: bytes) -> bool:
    """Return whether colour has half the resolution, both ways (AV1 Codec ISO Media File Format Binding, 2.3.3)."""
    settings = [content[2:3] for content in _contents(data, b"av1C")]
    return bool(settings) and all(setting and setting[0] & 0x0C == 0x0C for setting in settings)


def ends_early(data: bytes) -> bool:
    """Return whether a box of the outermost level is cut, or the one that holds the pixels is missing."""
    boxes = list(_boxes(data))
    return not boxes or boxes[-1][2] > len(data) or all(name != _PIXELS for name, _, _ in boxes)


def _contents(data: bytes, name: bytes) -> Iterator[bytes]:
    """Yield the first 16 bytes inside each box of a name, wherever it lies but among the pixels."""
    for outer, start, end in _boxes(data):
        at = end if outer == _PIXELS else data.find(name, start, end)
        while 0 <= at < end:
            yield data[at + 4 : at + 20]
            at = data.find(name, at + 4, end)


def _boxes(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each box of the outermost level; zero bytes after the last one are let be."""
    at = 0
    while data[at : at + 8].strip(b"\0"):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:  # the size is the 8 bytes after the name
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        end = at + max(size, 8) if size else len(data)  # 0: to the end of the file
        yield data[at + 4 : at + 8], at, end
        at = end
