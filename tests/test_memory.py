"""Models that nothing refers to any more do not stay in memory."""

import gc
import weakref

import keras

from components.memory import give_back_memory


def test_a_model_that_nobody_refers_to_is_gone() -> None:
    gc.disable()
    try:
        image = keras.Input((8,))
        model = keras.Model(image, keras.layers.Dense(4)(image))
        model.compile("adam")
        gone = weakref.ref(model)
        del image, model
        assert gone() is not None, "it refers to itself"

        give_back_memory()
    finally:
        gc.enable()

    assert gone() is None
