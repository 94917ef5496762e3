"""Settings of a fit without anything special, for tests to change what they are about."""

from components.classifier.fit_settings import FitSettings

PLAIN = FitSettings(
    epochs=4,
    batch_size=8,
    learning_rate=0.01,
    schedule="plateau",
    warmup_epochs=0.0,
    optimizer="adam",
    label_smoothing=0.0,
    class_weights="none",
    early_stopping_patience=0,
    plateau_patience=0,
    precision="auto",
    xla=False,
    gpu_memory_growth=True,
    gpu_prefetch_batches=2,
    seed=1,
)
