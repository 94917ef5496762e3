"""How deep an image is stored, and how much memory its decoder will take, told by its header.

``benchmarks.large_images`` measures the latter.
"""

from PIL import ExifTags, Image

from components.audit import iso_media

_COMPRESSED_TIFF = 2  # and above; 1 is uncompressed (TIFF 6.0, section 3)


def is_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether an opened image has more than 8 bits a channel, which its mode hides where Pillow reduces them."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return True
    if image.format == "PNG":
        return data[24] == 16  # the bit depth in the header chunk (PNG specification, 11.2.1)
    if image.format in ("AVIF", "HEIF"):
        return iso_media.is_deep(data)
    tags = getattr(image, "tag_v2", {})
    return max(tags.get(ExifTags.Base.BitsPerSample) or (8,)) > 8


def decoding_bytes(image: Image.Image, data: bytes) -> int:
    """Return how much memory loading an opened image takes at most, with the copies that its decoder makes."""
    pixels = image.width * image.height
    if image.format == "WEBP":
        # A still image, if large, goes to OpenCV. Of an animation, Pillow holds four copies of each frame.
        return pixels * (17 if getattr(image, "is_animated", False) else 8)
    if image.format in ("AVIF", "HEIF"):
        sample_bytes, has_alpha = 2 if iso_media.is_deep(data) else 1, image.mode == "RGBA"
        if image.mode == "L":
            return pixels * (3 + 2 * sample_bytes)
        planes = (1.5 if iso_media.is_subsampled(data) else 3) + has_alpha
        # The planes twice: those of a size other than the header declares are scaled to it.
        return int(pixels * (7.5 + 2 * planes * sample_bytes + has_alpha))
    if image.format == "TIFF":
        return pixels * 4 + _largest_piece_bytes(image)
    return pixels * 4


def _largest_piece_bytes(image: Image.Image) -> int:
    """Return what a strip or tile of a TIFF takes unpacked (TIFF 6.0, sections 8 and 15): a file may have just one."""
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(ExifTags.Base.BitsPerSample) or (8,)
    bits_per_pixel = max(sum(bits), len(bits) * 8, int(tags.get(ExifTags.Base.SamplesPerPixel) or 1) * bits[0])
    width, height = tags.get(ExifTags.Base.TileWidth), tags.get(ExifTags.Base.TileLength)
    if not (width and height):
        if tags.get(ExifTags.Base.Compression, 1) < _COMPRESSED_TIFF:
            return 0
        width, height = image.width, min(tags.get(ExifTags.Base.RowsPerStrip) or image.height, image.height)
    return int(width) * int(height) * bits_per_pixel // 8
