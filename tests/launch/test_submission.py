"""What a submission needs before any service is asked, and how often a busy one is."""

from pathlib import Path

import h5py  # type: ignore[import-untyped]
import pytest

from components import storage
from components.launch.submission import NotAcceptedError, retried
from tests.launch.recorded_kubeflow_api import RecordedKubeflowApi
from tests.launch.submit import refused, submit

VERTEX = ("--project", "animals", "--region", "europe-west4", "--pipeline-root", "gs://artifacts/root")
NOWHERE = ("--host", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("kubeflow", (), "no Kubeflow Pipelines host; give --host"),
        ("kubeflow", ("--host", "localhost:8080"), "--host localhost:8080 is no URL; for example http://"),
        ("vertex", (), "Vertex AI needs --project, --region, --pipeline-root"),
        ("vertex", VERTEX[:4], "Vertex AI needs --pipeline-root"),
        ("vertex", (*VERTEX, "--region", "europe-west4-a"), "--region europe-west4-a is no Google Cloud region"),
        (
            "vertex",
            (*VERTEX, "--pipeline-root", "artifacts"),
            "steps cannot keep artifacts in artifacts; give --pipeline-root a place in gs://,",
        ),
        ("vertex", (*VERTEX, "--pipeline-root", "s3://bucket/root"), "a place in gs://, for example"),
        ("kubeflow", (*NOWHERE, "--pipeline-root", "runs"), "a place in gs:// or s3:// or minio://, for example"),
        ("kubeflow", (*NOWHERE, "--image-registry", "https://a.b/c"), "leave out https://: --image-registry a.b/c"),
        ("kubeflow", (*NOWHERE, "--target", "vertex"), "--target does nothing with --submit kubeflow; leave it out"),
        ("kubeflow", (*NOWHERE, "--region", "europe-west4"), "--region does nothing with --submit kubeflow"),
        ("vertex", (*VERTEX, "--experiment", "My Animals"), "--experiment My Animals: on Vertex AI its name holds"),
        ("vertex", (*VERTEX, "--retries", "-1"), "--retries -1 must be 0 or more"),
        ("vertex", (*VERTEX, "--label", "Team=vision"), "--label Team=vision: on Vertex AI"),
        ("kubeflow", (*NOWHERE, "--label", "team"), "--label takes NAME=VALUE"),
    ],
)
def test_missing_and_malformed_options_are_named_before_anything_is_looked_up(
    gcs: str, capsys: pytest.CaptureFixture[str], target: str, options: tuple[str, ...], message: str
) -> None:
    code, error = refused(capsys, target, "gs://no-such-bucket/a.zip", *options)
    assert code == 2
    assert message in error


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("photos.zip", (), "a cluster cannot read photos.zip; upload it"),
        ("gs://a/b.zip", ("--registry", "models"), "would be lost with its pod; give --registry gs://"),
        ("gs://a/b.zip", ("--set", "weights=imagenet.npz"), "a cluster cannot read imagenet.npz; upload it"),
        (
            "gs://a/b.zip",
            ("--set", "earlier_findings=runs/1"),
            "a cluster cannot read runs/1; upload it and give",
        ),
        ("gs://a/b.zip", ("--set", "previous_decisions=d"), "a cluster cannot read d; upload it and give --set prev"),
    ],
)
def test_what_a_cluster_cannot_reach_is_refused(
    capsys: pytest.CaptureFixture[str], source: str, options: tuple[str, ...], message: str
) -> None:
    code, error = refused(capsys, "kubeflow", source, *NOWHERE, *options)
    assert code == 2
    assert message in error


def test_weights_in_a_bucket_are_looked_at_before_anything_is_submitted(
    kubeflow: RecordedKubeflowApi, source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong file would be found on a GPU node, when audit, cleaning and split are done."""
    uri = f"{source.removesuffix('Animals.zip')}weights.h5"
    options = ("--host", kubeflow.url, "--set", f"weights={uri}")
    storage.write_if_absent(uri, b"<html>Sign in</html>")
    code, error = refused(capsys, "kubeflow", source, *options)
    assert (code, f"weights {uri} is neither HDF5 nor a NumPy archive" in error) == (2, True), error
    assert kubeflow.runs == []
    storage.delete_file(uri)
    h5py.File(tmp_path / "weights.h5", "w").close()
    storage.write_if_absent(uri, tmp_path / "weights.h5")
    submit("kubeflow", source, *options)
    [run] = kubeflow.runs
    assert run["runtime_config"]["parameters"]["weights"] == uri


def test_an_attempt_that_was_not_accepted_is_repeated_as_often_as_asked(capsys: pytest.CaptureFixture[str]) -> None:
    attempts = []

    def attempt() -> str:
        attempts.append(1)
        if len(attempts) < 2:
            raise NotAcceptedError("busy")
        return "done"

    assert retried(attempt, 1) == "done"
    assert capsys.readouterr().out == "busy\n  trying again in 1 s, 1 time more at most\n"
    attempts.clear()
    with pytest.raises(NotAcceptedError, match="busy"):
        retried(attempt, 0)
    assert len(attempts) == 1
