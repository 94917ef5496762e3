"""One epoch, step by step: so that it can stop and go on between any two steps, and knows where its time goes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.classifier.frozen_layers import FrozenLayers
from components.classifier.input_pipeline import FILLER
from components.classifier.learning_rates import LearningRates
from components.classifier.stopwatch import Clock

_STEPS_PER_SAMPLE = 16
_FIRST_SAMPLES = 2  # graphs are built in the first


@dataclasses.dataclass
class EpochProgress:
    """How far an epoch has come, all of it numbers that JSON keeps exactly.

    Attributes:
        learning_rate: Of the epoch, before the schedule's factor.
        batches: Steps taken.
        images: In them.
        loss_sum: Over the images, weighted by class.
        correct: Images named correctly, as the model was at their step.
        factor_sum: Of the schedule, over steps.
        preparation_seconds: Until the epoch's batches could be asked for, and graphs of frozen layers were built.
        pass_images: That went through the frozen layers meanwhile, see ``PassSeconds``.
        pass_input_seconds: Of preparation, likewise.
        pass_forward_seconds: Likewise.
        pass_keeping_seconds: Likewise.
        input_seconds: Spent waiting for batches.
        forward_seconds: Spent in frozen layers, see ``TrainingSteps``.
        step_seconds: Spent in training steps on what they give.
        checkpoint_seconds: Spent keeping checkpoints.
    """

    learning_rate: float
    batches: int = 0
    images: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    factor_sum: float = 0.0
    preparation_seconds: float = 0.0
    pass_images: int = 0
    pass_input_seconds: float = 0.0
    pass_forward_seconds: float = 0.0
    pass_keeping_seconds: float = 0.0
    input_seconds: float = 0.0
    forward_seconds: float = 0.0
    step_seconds: float = 0.0
    checkpoint_seconds: float = 0.0

    @property
    def loss(self) -> float:
        """Mean over the images so far."""
        return self.loss_sum / max(self.images, 1)

    @property
    def accuracy(self) -> float:
        """Share of the images so far, [0, 1]."""
        return self.correct / max(self.images, 1)

    @property
    def training_seconds(self) -> float:
        """Spent waiting for batches and training on them."""
        return self.input_seconds + self.forward_seconds + self.step_seconds

    @property
    def images_per_second(self) -> float:
        """While waiting for batches and training on them; 0 before the first step."""
        return self.images / max(self.training_seconds, 1e-6)

    @property
    def mean_learning_rate(self) -> float:
        """Over the steps so far."""
        return self.learning_rate * (self.factor_sum / self.batches if self.batches else 1.0)


class TrainingSteps:
    """The training step of a compiled model, on one device or shared among several.

    Keras' own is not used, because between its steps a fit cannot be left: what it has summed up of the epoch is its
    secret, and what is waited for, input or computation, cannot be told apart.

    Frozen layers before the model run as a function of their own, so that their time is known too. On a GPU they are
    waited for in one step of sixteen alone, see ``ForwardShare``: the other steps are begun while they are computed.

    XLA compiles what is on one device and no more. So of several devices each has the work compiled that it does by
    itself, from its share of a batch to its gradients; adding these up and the optimizer are left to TensorFlow.

    Args:
        model: Compiled, its optimizer built.
        label_smoothing: Share of the label that is spread evenly over all classes, [0, 1).
        class_weight: Weight of each label, or None.
        xla: Whether to compile the step with XLA.
        gpu_prefetch_batches: How many batches wait in a GPU's memory beside the next one, copied while a step runs.
        frozen: What batches go through first, built for the same devices; None where the model takes them as they are.
        tries: Whether several devices learn nothing and do not wait for each other: to see what their memory holds,
            most of which is needed until there are gradients. Figures mean nothing then.
    """

    def __init__(
        self,
        model: keras.Model,
        label_smoothing: float,
        class_weight: dict[int, float] | None,
        xla: bool,
        gpu_prefetch_batches: int,
        frozen: FrozenLayers | None = None,
        *,
        tries: bool = False,
    ) -> None:
        self._model = model
        self._frozen = frozen
        self._share = ForwardShare(asynchronous=bool(tf.config.list_logical_devices("GPU")))
        self._optimizer = model.optimizer
        self._strategy = model.distribute_strategy
        self._smoothing = label_smoothing
        classes = model.output_shape[-1]
        weights = [1.0] * classes if class_weight is None else [class_weight[label] for label in range(classes)]
        self._weights = np.asarray([0.0, *weights], np.float32)  # the first for FILLER
        several = self._strategy.num_replicas_in_sync > 1
        self._xla = xla and not several
        self._learn: Callable[..., tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]] = self._learned
        if xla and several:
            self._learn = tf.function(self._learned, jit_compile=True, autograph=False)
        self._statistics = _statistics_that_learn(model) if several else []
        self._alone = tries and several
        self._ahead = gpu_prefetch_batches
        self._compiled: Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]] | None = None

    def run(
        self,
        batches: tf.data.Dataset,
        rates: LearningRates,
        first_step: int,
        progress: EpochProgress,
        after_step: Callable[[], None],
    ) -> None:
        """Take the steps of an epoch that have not been taken yet.

        While a GPU is busy with a step the next batch is waited for, so ``input_seconds`` are those that were lost.

        Args:
            batches: Of the whole epoch, the same ones whenever they are read.
            rates: Of the phase.
            first_step: Number of the epoch's first step within the phase, from 0.
            progress: Goes on from where it stands.
            after_step: Called when the figures of a step are in; model and ``progress`` agree then.
        """
        remaining = self._on_devices(batches.skip(progress.batches) if progress.batches else batches)
        clock = Clock()
        if self._compiled is None:
            self._compiled = self._compile(remaining.element_spec)
            progress.preparation_seconds += clock.lap()  # in which the graph of frozen layers is built
        iterator = iter(remaining)
        under_way: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None = None
        while True:
            batch = next(iterator, None)
            progress.input_seconds += clock.lap()
            if under_way is not None:
                loss_sum, correct, images = (np.asarray(figure) for figure in under_way)
                progress.batches += 1
                progress.images += int(images)
                progress.loss_sum += float(loss_sum)
                progress.correct += int(correct)
                self._share.add(progress, clock.lap())
                after_step()
                clock.lap()
            if batch is None:
                return
            factor = rates.factor(first_step + progress.batches)
            progress.factor_sum += factor
            self._set_rate(progress.learning_rate * factor)
            under_way = self._begin(self._compiled, batch, progress, clock)
            del batch  # its pixels are not needed any more where frozen layers have seen them

    def _begin(
        self, step: Callable[..., Any], batch: tuple[Any, Any], progress: EpochProgress, clock: Clock
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Begin the step of a batch, and count the time until this has returned."""
        if self._frozen is None:
            figures = take_step(step, batch)
            progress.step_seconds += clock.lap()
            return figures
        images, labels = batch
        waits = self._share.sampled()
        inputs = self._frozen.outputs(images)
        if waits:
            _wait_for_devices()
        forward_seconds = clock.lap()
        figures = take_step(step, (inputs, labels))
        if waits:
            _wait_for_devices()
            self._share.measured(progress, forward_seconds, clock.lap())
        else:
            self._share.add(progress, forward_seconds + clock.lap())
        return figures

    def _set_rate(self, rate: float) -> None:
        if np.float32(rate) != keras.ops.convert_to_numpy(self._optimizer.learning_rate):
            self._optimizer.learning_rate = rate

    def _on_devices(self, batches: tf.data.Dataset) -> Any:
        if self._strategy.num_replicas_in_sync > 1:
            options = tf.distribute.InputOptions(experimental_per_replica_buffer_size=self._ahead)
            return self._strategy.experimental_distribute_dataset(batches, options)
        gpus = tf.config.list_logical_devices("GPU")
        if not gpus or self._ahead == 0:
            return batches
        return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name, self._ahead))

    def _compile(self, element_spec: Any) -> Callable[..., tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        of_inputs, of_labels = element_spec
        if self._frozen is not None:
            of_inputs = self._frozen.output_spec(of_inputs)

        # The signature is fixed, so that the last, smaller batch does not lead to another graph than the others: after
        # a restart it may be the first one seen.
        @tf.function(input_signature=[of_inputs, of_labels], autograph=False, jit_compile=self._xla or None)
        def step(inputs: Any, labels: Any) -> Any:
            figures = self._strategy.run(self._step_of_replica, args=(inputs, labels))
            return tuple(self._strategy.reduce(tf.distribute.ReduceOp.SUM, figure, axis=None) for figure in figures)

        return step

    def _step_of_replica(self, inputs: Any, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return the sum of losses, how many images were right, and how many there were."""
        images = tf.reduce_sum(tf.cast(labels != FILLER, tf.int32))
        gradients, loss_sum, correct = self._learn(inputs, labels, self._images_of_all(images))
        if self._alone:
            # Gradients that nobody asks for would not be computed.
            return tf.add_n([loss_sum, *map(tf.reduce_sum, gradients)]), correct, images
        self._optimizer.apply(self._finite_everywhere(gradients), self._model.trainable_variables)
        self._share_statistics()
        return loss_sum, correct, images

    def _images_of_all(self, images: tf.Tensor) -> tf.Tensor:
        """Return how many images all devices have in this step, float32, from how many this one has."""
        own = tf.cast(images, tf.float32)
        if self._strategy.num_replicas_in_sync == 1 or self._alone:
            return own
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)

    def _learned(
        self, inputs: Any, labels: tf.Tensor, images: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        """Return this device's part of the gradients of the mean loss, its sum of losses, and how many were right.

        Args:
            inputs: Of this device.
            labels: Likewise.
            images: How many all devices have, which the loss is the mean over.
        """
        variables = self._model.trainable_variables
        # What learns is watched and no more: else the graph would go all the way back through the frozen layers, which
        # takes twice as long to build, and XLA has no deterministic gradient for InceptionV3's pooling.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            probabilities = self._model(inputs, training=True)
            losses = self._losses(tf.maximum(labels, 0), probabilities) * tf.gather(self._weights, labels + 1)
            mean = tf.reduce_sum(losses) / images
            scaled = self._optimizer.scale_loss(mean)
        gradients = tape.gradient(scaled, variables)
        correct = tf.reduce_sum(tf.cast(tf.argmax(probabilities, axis=-1) == labels, tf.int32))
        return gradients, tf.reduce_sum(losses), correct

    def _share_statistics(self) -> None:
        """Give each device the mean of what normalization has gathered on all of them.

        Keras 3.15 leaves each with the statistics of its own share of the images: validation would depend on which
        device saw an image, and those of the first device alone would be kept.
        """
        if self._statistics:
            replica, values = tf.distribute.get_replica_context(), [one.value for one in self._statistics]
            for one, mean in zip(
                self._statistics, replica.all_reduce(tf.distribute.ReduceOp.MEAN, values), strict=True
            ):
                one.assign(mean)

    def _losses(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy of each image, float32 ``[batch]``."""
        if self._smoothing == 0.0:
            return keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return keras.losses.categorical_crossentropy(
            tf.one_hot(labels, probabilities.shape[-1]), probabilities, label_smoothing=self._smoothing
        )

    def _finite_everywhere(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """Make gradients that are not finite on one device not finite on each.

        In half precision the optimizer lowers its loss scale and leaves a step out when a gradient overflows. Keras
        3.15 asks the first device alone, and then adds up what all have: an overflow of another device would end up in
        the weights.
        """
        scales = isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer)
        if not scales or self._strategy.num_replicas_in_sync == 1:
            return gradients
        here = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
        overflows = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, tf.cast(tf.logical_not(here), tf.float32)
        )
        return [tf.where(overflows > 0.0, tf.constant(np.nan, gradient.dtype), gradient) for gradient in gradients]


class ForwardShare:
    """How the time of a step divides between frozen layers and training on what they give.

    A CPU has computed what was called when the call returns. A GPU goes on meanwhile, and to see when it is through
    with the frozen layers it has to be waited for, after which it has nothing to do until it is told what comes next.
    So both parts are waited for in one step of sixteen, and what the steps between take is divided as in that one.

    Args:
        asynchronous: Whether there is a GPU.
    """

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous
        self._steps = 0
        self._share = 0.0
        self._waited = False

    def sampled(self) -> bool:
        """Begin a step, and return whether both of its parts are to be waited for."""
        number = self._steps
        self._steps += 1
        self._waited = not self._asynchronous or number < _FIRST_SAMPLES or number % _STEPS_PER_SAMPLE == 0
        return self._waited

    def measured(self, progress: EpochProgress, forward_seconds: float, step_seconds: float) -> None:
        """Count the two parts of a step that were waited for."""
        self._share = forward_seconds / max(forward_seconds + step_seconds, 1e-9)
        progress.forward_seconds += forward_seconds
        progress.step_seconds += step_seconds

    def add(self, progress: EpochProgress, seconds: float) -> None:
        """Count time in which frozen layers and training were both computed, or, if they were waited for, neither."""
        forward_seconds = 0.0 if self._waited else self._share * seconds
        progress.forward_seconds += forward_seconds
        progress.step_seconds += seconds - forward_seconds


def _statistics_that_learn(model: keras.Model) -> list[keras.Variable]:
    """Return what layers gather about their inputs while they learn: means and variances of batch normalization."""
    layers = [model]
    for layer in layers:
        layers += layer.layers if isinstance(layer, keras.Model) else []
    learning = [layer for layer in layers if layer.trainable and not isinstance(layer, keras.Model)]
    return [weight for layer in learning for weight in layer.non_trainable_weights]


def take_step(step: Callable[..., Any], batch: tuple[Any, Any]) -> Any:
    """Begin one step; on a GPU it goes on after this has returned."""
    return step(*batch)


def _wait_for_devices() -> None:
    """Wait until GPUs have computed all they were told to; a CPU has."""
    tf.test.experimental.sync_devices()
