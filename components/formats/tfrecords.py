"""The records in a split's shards: one ``tf.train.Example`` per image.

| feature    | type           | meaning                                                      |
|------------|----------------|--------------------------------------------------------------|
| image      | bytes          | JPEG, RGB, ``image_size_px`` squared, orientation applied    |
| label      | int64          | index into ``Splits.class_names``                            |
| class_name | bytes (UTF-8)  | ``Splits.class_names[label]``                                |
| path       | bytes (UTF-8)  | the image's name: its path inside the source                 |
| md5        | bytes (ASCII)  | hex digest of the original bytes                             |
"""

import tensorflow as tf

FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "class_name": tf.io.FixedLenFeature([], tf.string),
    "path": tf.io.FixedLenFeature([], tf.string),
    "md5": tf.io.FixedLenFeature([], tf.string),
}


def serialize_example(image: bytes, label: int, class_name: str, path: str, md5: str) -> bytes:
    """Return one image as a serialized ``tf.train.Example``, the same bytes for the same input."""

    def of_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "image": of_bytes(image),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "class_name": of_bytes(class_name.encode()),
        "path": of_bytes(path.encode()),
        "md5": of_bytes(md5.encode()),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def parse_example(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parse a serialized record, scalar string, into scalar tensors by feature name; the image stays encoded."""
    return tf.io.parse_single_example(record, FEATURES)
