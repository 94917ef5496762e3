"""Register: place the evaluated model in the registry as an immutable version, and promote it if it passes the gate."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.DATA, install_kfp_package=False)
def register(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Dataset],
    registry_uri: str,
    model_name: str,
    minimum_accuracy: float,
    source: str,
    pipeline_run: str,
    entry: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Register a model as a versioned, checksummed, immutable bundle.

    Args:
        model: The trained model.
        evaluation: Its evaluation on the test split.
        splits: The splits of both.
        registry_uri: Where the registry lies: gs://bucket/prefix or a local folder.
        model_name: Name in the registry: letters, digits, '.', '_' and '-', at most 63.
        minimum_accuracy: The least test accuracy, [0, 1], of a champion; below it a model stays a candidate.
        source: Where the images came from.
        pipeline_run: Name of this run, for the lineage.
        entry: The registry entry: name, version, URI, aliases, gate and files.
        metrics: Accuracy, gate and number of versions.

    Returns:
        URI of the registered version.
    """
    from datetime import UTC, datetime
    from pathlib import Path

    from components.failures import attempts
    from components.register.registration import register_model

    for attempt in attempts("register"):
        with attempt:
            registration = register_model(
                Path(model.path),
                Path(evaluation.path),
                Path(splits.path),
                registry_uri=registry_uri,
                model_name=model_name,
                minimum_accuracy=minimum_accuracy,
                source=source,
                pipeline_run=pipeline_run,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                entry=Path(entry.path),
            )
            entry.metadata["name"] = model_name
            entry.metadata["version"] = registration.version
            entry.metadata["uri"] = registration.uri
            entry.metadata["accuracy"] = registration.accuracy
            metrics.log_metric("accuracy", registration.accuracy)
            metrics.log_metric("minimum_accuracy", minimum_accuracy)
            metrics.log_metric("champion", int(registration.champion))
            metrics.log_metric("versions", registration.versions)
    return registration.uri
