"""The records in a split's shards: one ``tf.train.Example`` per image, framed as TFRecord.

| feature    | type           | meaning                                                      |
|------------|----------------|--------------------------------------------------------------|
| image      | bytes          | JPEG, RGB, ``image_size_px`` squared, orientation applied    |
| label      | int64          | index into ``Splits.class_names``                            |
| class_name | bytes (UTF-8)  | ``Splits.class_names[label]``                                |
| path       | bytes (UTF-8)  | the image's name: its path inside the source                 |
| md5        | bytes (ASCII)  | hex digest of the original bytes                             |

Written without TensorFlow, whose import takes seconds and 400 MB of memory, and byte by byte what TensorFlow writes;
read by TensorFlow.
"""

import struct
from typing import TYPE_CHECKING

import google_crc32c

if TYPE_CHECKING:
    import tensorflow as tf

# Field numbers in tensorflow/core/example/{example,feature}.proto, shifted by the wire type "length-delimited":
# Example.features = 1, Features.feature = 1, of a map entry key = 1 and value = 2, Feature.bytes_list = 1 and
# int64_list = 3, BytesList.value = 1 and Int64List.value = 1, packed.
_FIELD_1, _FIELD_2, _FIELD_3 = b"\x0a", b"\x12", b"\x1a"

_CRC_MASK_DELTA = 0xA282EAD8


def serialize_example(image: bytes, label: int, class_name: str, path: str, md5: str) -> bytes:
    """Return one image as a serialized ``tf.train.Example``, the same bytes for the same input.

    Args:
        image: JPEG.
        label: At least 0.
        class_name: See above, as are the others.
        path: See above.
        md5: See above.
    """
    features = {
        "class_name": _of_bytes(class_name.encode()),
        "image": _of_bytes(image),
        "label": _field(_FIELD_3, _field(_FIELD_1, _varint(label))),
        "md5": _of_bytes(md5.encode()),
        "path": _of_bytes(path.encode()),
    }
    # Sorted by name, as protobuf does when it is asked to be deterministic.
    entries = (_field(_FIELD_1, name.encode()) + _field(_FIELD_2, value) for name, value in sorted(features.items()))
    return _field(_FIELD_1, b"".join(_field(_FIELD_1, entry) for entry in entries))


def framed(record: bytes) -> bytes:
    """Return a record as it stands in a TFRecord file: its length, the record, and a checksum of each.

    The format is described in ``tensorflow/core/lib/io/record_writer.h``.
    """
    length = struct.pack("<Q", len(record))
    return b"".join((length, _masked_crc(length), record, _masked_crc(record)))


def parse_example(record: "tf.Tensor") -> "dict[str, tf.Tensor]":
    """Parse a serialized record, scalar string, into scalar tensors by feature name; the image stays encoded."""
    import tensorflow as tf  # noqa: PLC0415 - whoever writes records needs none

    text, number = tf.io.FixedLenFeature([], tf.string), tf.io.FixedLenFeature([], tf.int64)
    features = {"image": text, "label": number, "class_name": text, "path": text, "md5": text}
    return tf.io.parse_single_example(record, features)


def _of_bytes(value: bytes) -> bytes:
    return _field(_FIELD_1, _field(_FIELD_1, value))


def _field(key: bytes, value: bytes) -> bytes:
    return key + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    """Return a number as protobuf does: seven bits a byte, the least first, the top bit where more follow."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _masked_crc(data: bytes) -> bytes:
    # Masked, because the checksum of data that holds its own checksum is a weak one.
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _CRC_MASK_DELTA) & 0xFFFFFFFF)
