"""Features are read back as they were written, and a damaged file is not read."""

from pathlib import Path

import numpy as np
import pytest

from components.formats.training_features import (
    TRAINING_FEATURES_FILE,
    TrainingFeatures,
    of_length_1,
    read_training_features,
    shuffled_positions,
    write_training_features,
)

FEATURES = of_length_1(np.random.default_rng(0).random((40, 16), np.float32))
KEPT = TrainingFeatures(FEATURES, np.arange(0, 80, 2), views=3, dataset_digest="d" * 64, shards_digest="5" * 64)


def test_round_trip_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        write_training_features(KEPT, tmp_path)
        contents.append((tmp_path / TRAINING_FEATURES_FILE).read_bytes())
    assert contents[0] == contents[1]
    again = read_training_features(tmp_path)
    assert again is not None
    assert again.features.dtype == np.float16
    for name, value in vars(KEPT).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_a_folder_without_features(tmp_path: Path) -> None:
    assert read_training_features(tmp_path) is None


@pytest.mark.parametrize("kept", [0, 100, 700, -1])
def test_a_damaged_file_is_not_read(tmp_path: Path, kept: int) -> None:
    """Cut off after so many bytes, or with one of its features changed."""
    write_training_features(KEPT, tmp_path)
    path = tmp_path / TRAINING_FEATURES_FILE
    data = bytearray(path.read_bytes())
    if kept < 0:
        place = data.index(FEATURES.tobytes()[:64])
        data[place + 30] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[:kept])
    with pytest.raises(ValueError, match=TRAINING_FEATURES_FILE):
        read_training_features(tmp_path)


def test_what_has_no_length_stays_nothing() -> None:
    scaled = of_length_1(np.array([[3, 4], [0, 0], [1e-9, 0]], np.float32))
    assert scaled.astype(float) == pytest.approx(np.array([[0.6, 0.8], [0, 0], [1, 0]]), abs=1e-3)


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    shuffled = shuffled_positions(1000, seed=3)
    assert sorted(shuffled.tolist()) == list(range(1000))
    assert shuffled[:50].tolist() == shuffled_positions(1000, seed=3)[:50].tolist()
