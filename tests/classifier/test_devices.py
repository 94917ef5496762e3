"""Devices are claimed as asked, or refused with the fix."""

import keras
import pytest
import tensorflow as tf

from components.classifier.devices import Devices, check_precision, check_usable, precision_for, require_gpus
from components.classifier.input_pipeline import Batching
from components.failures import UserError


def test_more_gpus_than_there_are_is_the_users_to_fix() -> None:
    seen = len(tf.config.list_physical_devices("GPU"))
    with pytest.raises(UserError, match=rf"{seen + 1} GPU\(s\) were asked for and TensorFlow sees {seen}.*gpu_count 0"):
        require_gpus(seen + 1)
    assert require_gpus(0) == []


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        pytest.param([], "float32", id="cpu"),
        pytest.param([(6, 0)], "float32", id="P100"),
        pytest.param([(7, 5)], "mixed_float16", id="T4"),
        pytest.param([(8, 9)], "mixed_bfloat16", id="L4"),
        pytest.param([(9, 0), (9, 0)], "mixed_bfloat16", id="two H100"),
        pytest.param([(9, 0), (7, 0)], "mixed_float16", id="the oldest decides"),
    ],
)
def test_precision(capabilities: list[tuple[int, int]], precision: str) -> None:
    assert precision_for(capabilities) == precision


def test_a_precision_that_a_gpu_is_too_old_for_is_refused() -> None:
    for precision in ("auto", "float32", "mixed_float16"):
        check_precision(precision, [(9, 0), (7, 5)])
    check_precision("mixed_bfloat16", [])
    with pytest.raises(UserError, match=r"a GPU of compute capability 7\.5 is too old for it: set it to mixed_f"):
        check_precision("mixed_bfloat16", [(9, 0), (7, 5)])


def test_a_gpu_that_tensorflow_leaves_out_is_named() -> None:
    """It sees a GPU of any age, and goes on without those it cannot use."""
    check_usable([], [], 0)
    check_usable(["NVIDIA L4"], [(8, 9)], 1)
    with pytest.raises(UserError, match=r"can use 0 of 1 GPU\(s\), by compute capability Tesla M60 \(5\.2\): choose"):
        check_usable(["Tesla M60"], [(5, 2)], 0)


def test_models_built_for_half_precision_keep_float32_weights_and_the_policy_ends_with_the_block() -> None:
    devices = Devices(tf.distribute.get_strategy(), ["GPU"], "mixed_bfloat16")

    with devices.building():
        dense = keras.layers.Dense(2)
        dense.build((None, 3))

    assert (dense.compute_dtype, dense.kernel.dtype) == ("bfloat16", "float32")
    assert keras.config.dtype_policy().name == "float32"
    assert not devices.plain


def test_a_batch_on_one_device_is_what_was_asked_for() -> None:
    assert Devices(tf.distribute.get_strategy(), ["CPU"], "float32").batching(5) == Batching(5, 1)
