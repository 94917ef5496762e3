"""The training record is read back as it was written."""

import dataclasses
import json
from pathlib import Path

import pytest

from components.formats.trained_model import Resumption, TrainingRecord, read_training_record, write_training_record


def plain_record() -> TrainingRecord:
    return TrainingRecord(
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
        frozen_val_loss=0.25,
        frozen_val_accuracy=0.9,
    )


def test_record_round_trip(tmp_path: Path) -> None:
    record = dataclasses.replace(
        plain_record(),
        training_val_loss=0.26,
        seconds={"frozen": 3.5, "fine_tune": 30.0},
        resumed={"frozen": [], "fine_tune": [Resumption(0, 7), Resumption(2, 0)]},
    )
    write_training_record(record, tmp_path)
    assert read_training_record(tmp_path) == record
    assert record.all_seconds == 33.5


def test_a_record_of_before_attempts_were_counted_is_read(tmp_path: Path) -> None:
    write_training_record(written := plain_record(), tmp_path)
    values = json.loads((tmp_path / "training.json").read_text())
    (tmp_path / "training.json").write_text(
        json.dumps({name: values[name] for name in values.keys() - {"training_val_loss", "seconds", "resumed"}})
    )

    assert read_training_record(tmp_path) == written
    assert written.all_seconds is None


def test_a_folder_without_a_record_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.json"):
        read_training_record(tmp_path)
