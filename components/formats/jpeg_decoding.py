"""The one way in which TensorFlow decodes JPEG here: to the very pixels that Pillow, and so most clients, decode it to.

Its own default, the fast inverse DCT, is off by up to 16 of 255 gray levels: enough to move a probability by 0.01. Who
sends pixels to an exported model decodes them with Pillow or OpenCV, which take the accurate transform.
"""

import tensorflow as tf

JPEG_MAGIC = b"\xff\xd8\xff"
DCT_METHOD = "INTEGER_ACCURATE"
"""Of ``tf.io.decode_jpeg``; ``tf.io.decode_image`` has no such choice."""


def decode_jpeg(data: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG file, colour or gray.

    Args:
        data: Its bytes, scalar string.

    Returns:
        RGB, uint8 ``[height, width, 3]``.
    """
    return tf.io.decode_jpeg(data, channels=3, dct_method=DCT_METHOD)
