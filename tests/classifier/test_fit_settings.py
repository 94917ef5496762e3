"""Settings out of range are refused with a sentence that names the parameter."""

import dataclasses
from typing import Any

import pytest

from components.classifier.fit_settings import (
    check_batch_is_shared,
    check_checkpoint_seconds,
    check_fit_settings,
    check_share,
)
from components.classifier.training_mode import Mode, ModeSettings
from components.failures import UserError
from tests.classifier.plain_settings import PLAIN

SETTINGS = PLAIN


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epochs", 0, "epochs is 0: set it between 1 and 100000$"),
        ("epochs", 10**12, "epochs is 1000000000000: set it between 1 and 100000$"),
        ("batch_size", 0, "batch_size is 0: set it between 1 and 65536$"),
        ("batch_size", 2**63, "batch_size is 9223372036854775808: set it between 1 and 65536$"),
        ("learning_rate", 0.0, "learning_rate is 0.0: set it above 0"),
        ("learning_rate", 1.5, "learning_rate is 1.5"),
        ("learning_rate", float("nan"), "learning_rate is nan"),
        ("schedule", "linear", "schedule is 'linear': choose one of cosine, plateau"),
        ("warmup_epochs", 4.0, "warmup_epochs is 4.0: set it to at least 0 and less than the number of epochs, 4"),
        ("warmup_epochs", -0.5, "warmup_epochs is -0.5"),
        ("warmup_epochs", float("nan"), "warmup_epochs is nan"),
        ("optimizer", "lion", "optimizer is 'lion': choose one of adam, adamw, rmsprop, sgd"),
        ("label_smoothing", 1.0, "label_smoothing is 1.0: set it between 0 and less than 1"),
        ("precision", "float16", "precision is 'float16': choose one of auto, float32, mixed_bfloat16, mixed_float16"),
        ("gpu_prefetch_batches", -1, "gpu_prefetch_batches is -1: set it between 0 and 1000$"),
        ("class_weights", "equal", "class_weights is 'equal': choose one of none, balanced"),
        ("early_stopping_patience", -1, "early_stopping_patience is -1"),
        ("plateau_patience", -1, "plateau_patience is -1"),
        ("seed", -1, "seed is -1: set it between 0 and 2147483647"),
    ],
)
def test_settings_out_of_range_are_named(name: str, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_fit_settings(dataclasses.replace(SETTINGS, **{name: value}))


def test_how_gpu_memory_is_used_is_no_part_of_what_decided_the_result() -> None:
    record = SETTINGS.as_record()
    assert dataclasses.replace(SETTINGS, gpu_memory_growth=False, gpu_prefetch_batches=0).as_record() == record
    assert dataclasses.replace(SETTINGS, xla=True).as_record() != record


def test_what_a_schedule_or_a_mode_does_not_use_is_no_part_of_the_record() -> None:
    cosine = dataclasses.replace(SETTINGS, schedule="cosine", plateau_patience=2)
    modes = ModeSettings("auto", 3, "float16", 1.0, "")

    assert "plateau_patience" not in cosine.as_record()
    assert dataclasses.replace(cosine, schedule="plateau").as_record()["plateau_patience"] == 2
    assert modes.as_record(Mode(False, ""), 6, 0.5) == {"training_mode": "streaming"}
    assert modes.as_record(Mode(True, ""), 6, 0.5) == {
        "training_mode": "cached", "augmented_views": 3, "cache_precision": "float16",
    }  # fmt: skip


def test_shares() -> None:
    check_share("dropout", 0.0, below_one=True)
    check_share("augmentation", 1.0, below_one=False)
    with pytest.raises(UserError, match="dropout is 1.0: set it between 0 and less than 1"):
        check_share("dropout", 1.0, below_one=True)
    with pytest.raises(UserError, match="augmentation is nan"):
        check_share("augmentation", float("nan"), below_one=False)


def test_each_gpu_gets_an_image_of_every_batch() -> None:
    check_batch_is_shared(4, 4)
    with pytest.raises(UserError, match="batch_size is 3 and is shared among 4 GPUs: set it to at least 4"):
        check_batch_is_shared(3, 4)


def test_seconds_between_checkpoints() -> None:
    check_checkpoint_seconds(0.0)
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(
            UserError, match=f"checkpoint_seconds is {value}: set it to 0, for each epoch alone, or more"
        ):
            check_checkpoint_seconds(value)
