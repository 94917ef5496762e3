"""The training record is read back as it was written."""

from pathlib import Path

import pytest

from components.formats.trained_model import TrainingRecord, read_training_record, write_training_record


def test_record_round_trip(tmp_path: Path) -> None:
    record = TrainingRecord(
        backbone="inception_v3",
        weights="imagenet",
        weights_sha256="a" * 64,
        preprocessing="x / 127.5 - 1",
        class_names=["鳥", "fish"],
        image_size_px=256,
        resize_policy="stretch",
        dataset_digest="d" * 64,
        phase="fine_tune",
        best_phase="frozen",
        best_epoch=3,
        best_val_loss=0.25,
        best_val_accuracy=0.9,
        images_per_class={"鳥": 12, "fish": 28},
        devices=["GPU: NVIDIA L4"],
        settings={"frozen": {"epochs": 5, "learning_rate": 1e-3}, "fine_tune": {"epochs": 10}},
        shards_digest="5" * 64,
    )
    write_training_record(record, tmp_path)
    assert read_training_record(tmp_path) == record


def test_a_folder_without_a_record_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.json"):
        read_training_record(tmp_path)
