"""Register: place the evaluated model in the registry as an immutable version, and promote it if it passes the gate."""

from kfp import dsl

from components import images


@dsl.component(base_image=images.TRAINING, install_kfp_package=False)
def register(
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    splits: dsl.Input[dsl.Dataset],
    decisions: dsl.Input[dsl.Dataset],
    registry_uri: str,
    model_name: str,
    exports: list,
    apply_temperature: bool,
    minimum_accuracy: float,
    class_recall_floors: dict,
    maximum_calibration_error: float,
    fail_if_rejected: bool,
    other_registries: list,
    source: str,
    source_fingerprint: str,
    model_licence: str,
    pipeline_run: str,
    entry: dsl.Output[dsl.Artifact],
    card: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Export a model, try what was exported, and register it as a versioned, checksummed, immutable bundle.

    Args:
        model: The trained model.
        evaluation: Its evaluation on the test split.
        splits: The splits of both.
        decisions: What cleaning decided about the images, for the model card.
        registry_uri: Where the registry lies: gs://bucket/prefix or a local folder.
        model_name: Name in the registry: letters, digits, '.', '_' and '-', at most 63.
        exports: What to export besides model.keras: saved_model, h5, tflite, and onnx where its extra is installed.
        apply_temperature: Whether exports give calibrated probabilities, by the evaluation's temperature.
        minimum_accuracy: The least test accuracy, [0, 1]; a model below it is rejected.
        class_recall_floors: The least recall, [0, 1], by class name; * stands for every class not named.
        maximum_calibration_error: The greatest expected calibration error, [0, 1]; 1 allows any.
        fail_if_rejected: Whether a rejected model fails the step, after it was registered as rejected.
        other_registries: Who else is told of the version: mlflow:http://host:port, kubeflow:http://host:port,
            vertex:project/region/serving-image.
        source: Where the images came from.
        source_fingerprint: What the source held, for the lineage.
        model_licence: Licence of the model, for its card.
        pipeline_run: Name of this run, for the lineage.
        entry: The registry entry: name, version, URI, aliases, gate and files.
        card: The model card.
        metrics: Accuracy, gate and number of versions.

    Returns:
        URI of the registered version.
    """
    import tempfile
    from datetime import UTC, datetime
    from pathlib import Path

    from components.failures import UserError, attempts
    from components.publishing import require_publishable
    from components.register.lineage import Origin
    from components.register.model_exports import temperature_of, write_exports
    from components.register.other_registries import check_other_registries
    from components.register.promotion_gate import Gate
    from components.register.registration import register_model

    for attempt in attempts("register"):
        with attempt, tempfile.TemporaryDirectory(prefix="register-") as folder:
            require_publishable(folders=[Path(entry.path)], files=[Path(card.path)])
            check_other_registries(other_registries, registry_uri, exports)
            gate = Gate(minimum_accuracy, class_recall_floors, maximum_calibration_error)
            evaluated = Path(evaluation.path)
            exported = Path(folder) / "exports"
            write_exports(
                Path(model.path),
                evaluated,
                Path(splits.path),
                formats=exports,
                temperature=temperature_of(evaluated, apply_temperature=apply_temperature),
                directory=exported,
            )
            registration = register_model(
                Path(model.path),
                evaluated,
                Path(splits.path),
                exported,
                Path(decisions.path),
                registry_uri=registry_uri,
                model_name=model_name,
                gate=gate,
                origin=Origin(source, pipeline_run, source_fingerprint, model_licence),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                entry=Path(entry.path),
                card=Path(card.path),
                other_registries=other_registries,
            )
            entry.metadata["name"] = model_name
            entry.metadata["version"] = registration.version
            entry.metadata["uri"] = registration.uri
            entry.metadata["accuracy"] = registration.accuracy
            metrics.log_metric("accuracy", registration.accuracy)
            metrics.log_metric("minimum_accuracy", minimum_accuracy)
            metrics.log_metric("rejected", int(bool(registration.rejected)))
            metrics.log_metric("champion", int(registration.champion))
            metrics.log_metric("versions", registration.versions)
            if registration.rejected and fail_if_rejected:
                reasons = "; ".join(registration.rejected)
                raise UserError(f"{registration.version} was registered as rejected: {reasons}")
    return registration.uri
