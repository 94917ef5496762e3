"""The caption of the learning curves says no more than the settings have it."""

from typing import Any

import pandas as pd

from components.classifier.curve_caption import curve_caption

FROZEN: dict[str, Any] = {"dropout": 0.0, "augmentation": 0.0, "label_smoothing": 0.0, "class_weights": "none"}
TUNED: dict[str, Any] = {key: value for key, value in FROZEN.items() if key != "dropout"}
HISTORY = pd.DataFrame({"phase": ["frozen", "frozen", "fine_tune"], "epoch": [1, 2, 1], "val_loss": [0.4, 0.5, 0.3]})


def frozen_only(**changes: Any) -> str:
    return curve_caption({"frozen": {**FROZEN, **changes}}, HISTORY[:2])


def test_plain_training_is_said_to_be_no_more_than_a_mean_over_an_epoch() -> None:
    caption = frozen_only()

    assert "Validation loss is plain cross-entropy" in caption
    assert "means over an epoch, taken while the model learns, so" in caption
    assert not any(word in caption for word in ("dropout", "augmentation", "another quantity", "Fine-tuning"))


def test_what_training_goes_through_and_validation_does_not_is_named() -> None:
    assert "learns, with dropout 0.5 and augmentation 0.3, so" in frozen_only(dropout=0.5, augmentation=0.3)


def test_what_training_loss_counts_besides_is_named() -> None:
    caption = frozen_only(label_smoothing=0.1, class_weights="balanced")

    assert "Training loss is another quantity, with label smoothing 0.1 and balanced class weights:" in caption


def test_what_one_phase_has_alone_is_said_of_it() -> None:
    caption = curve_caption(
        {
            "frozen": {**FROZEN, "dropout": 0.5, "augmentation": 0.5},
            "fine_tune": {**TUNED, "label_smoothing": 0.2, "train_batch_normalization": True},
        },
        HISTORY,
    )

    assert "with label smoothing 0.2 in fine-tuning:" in caption
    assert (
        "with dropout 0.5, augmentation 0.5 in the frozen phase and batch normalization by each batch in fine-tuning,"
    ) in caption


def test_fine_tuning_is_said_to_start_from_the_kept_frozen_epoch() -> None:
    caption = curve_caption({"frozen": FROZEN, "fine_tune": TUNED}, HISTORY)

    assert caption.startswith("Fine-tuning starts from epoch 1 of the frozen phase")
