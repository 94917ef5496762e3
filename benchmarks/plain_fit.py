"""How a phase is fitted where a benchmark is about something else."""

from components.classifier.fit_settings import FitSettings

PLAIN_FIT = FitSettings(
    epochs=1,
    batch_size=32,
    learning_rate=1e-5,
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
"""Without anything special, every epoch of it."""
