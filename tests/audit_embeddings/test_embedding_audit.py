"""The step on real photographs with planted defects, run as the pipeline runs it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kfp import dsl

from benchmarks.embedding_quality import PlantedEmbeddings, audited, plant, ranked_first, score, settings
from components.audit_embeddings.component import audit_embeddings
from components.audit_embeddings.embedding_audit import audit_archive_embeddings
from components.clean.archive_cleaning import decide_archive
from components.clean.cleaning_policy import cleaning_policy
from components.failures import UserError
from components.formats.check_names import EMBEDDING_CHECKS
from components.formats.findings import FACTS_FILE, read_facts, read_findings, read_measurements
from tests.audit.conftest import write_archive
from tests.audit.images import flat, photo
from tests.audit.test_report import HOSTILE, Elements


@dataclasses.dataclass
class Step:
    """A finished step."""

    planted: PlantedEmbeddings
    archive: Path
    audited: Path
    output: Path
    report: Path
    metrics: dict[str, Any]

    @property
    def findings(self) -> pd.DataFrame:
        return read_findings(self.output)

    @property
    def own(self) -> pd.DataFrame:
        return self.findings[self.findings["check"].isin(EMBEDDING_CHECKS)]


def run_component(archive: Path, findings: Path, directory: Path, **differs: Any) -> Step:
    """Run the component's function, and return what it made."""
    metrics = dsl.Metrics(name="metrics", uri="", metadata={})
    audit_embeddings.python_func(
        archive=dsl.Dataset(name="archive", uri=str(archive), metadata={}),
        audited=dsl.Dataset(name="audited", uri=str(findings), metadata={}),
        findings=dsl.Dataset(name="findings", uri=str(directory / "output"), metadata={}),
        report=dsl.HTML(name="report", uri=str(directory / "page"), metadata={}),
        metrics=metrics,
        **{**dataclasses.asdict(settings()), "workers": 2, **differs},
    )
    nothing = PlantedEmbeddings({}, {}, frozenset(), frozenset(), frozenset())
    return Step(nothing, archive, findings, directory / "output", directory / "page", metrics.metadata)


@pytest.fixture(scope="module")
def step(tmp_path_factory: pytest.TempPathFactory) -> Step:
    directory = tmp_path_factory.mktemp("embeddings")
    planted = plant(11)  # none of the seeds that thresholds were chosen on
    archive, findings = audited(planted, directory)
    return dataclasses.replace(run_component(archive, findings, directory), planted=planted)


def test_most_planted_label_errors_are_found_and_ranked_first(step: Step) -> None:
    tally = score(step.planted, step.findings)["label_error"]
    assert tally["found"] >= 5
    assert tally["false"] <= 3
    assert ranked_first(step.planted, step.findings) >= 5


def test_label_errors_name_the_given_and_the_suggested_class(step: Step) -> None:
    found = step.own[(step.own["check"] == "label_error") & step.own["path"].isin(step.planted.wrong)]
    rights = 0
    for path, message in zip(found["path"], found["message"], strict=True):
        assert f"Filed under '{step.planted.labels[path]}'" in message
        rights += f"say '{path.split('/')[0]}'" in message  # the folder that the photograph was taken from
    assert rights >= 0.75 * len(found)


def test_crops_of_seventy_percent_are_found_and_no_other_pair(step: Step) -> None:
    tally = score(step.planted, step.findings)["semantic_duplicate"]
    assert tally["found"] >= 8
    assert tally["false"] <= 1


def test_drawn_images_are_brought_to_attention(step: Step) -> None:
    reported = set(step.own["path"])
    assert len(step.planted.drawn & reported) >= 2
    assert score(step.planted, step.findings)["embedding_outlier"]["false"] <= 3


def test_an_image_has_a_wrong_label_or_is_an_outlier_and_not_both(step: Step) -> None:
    of_one = step.own[step.own["check"].isin(["label_error", "embedding_outlier"])]
    assert of_one["path"].is_unique


def test_what_the_audit_found_stays_as_it_was(step: Step) -> None:
    before = read_findings(step.audited)
    after = step.findings[~step.findings["check"].isin(EMBEDDING_CHECKS)].reset_index(drop=True)
    pd.testing.assert_frame_equal(after, before)
    pd.testing.assert_frame_equal(read_measurements(step.output), read_measurements(step.audited))
    facts = read_facts(step.output)
    assert {name: facts[name] for name in facts if name != "embedding"} == read_facts(step.audited)
    assert facts["embedding"]["check_label_error"] == int((step.own["check"] == "label_error").sum())
    assert facts["embedding"]["settings"]["backbone"] == "efficientnet_lite0"


def test_metrics_count_what_was_found(step: Step) -> None:
    for check in EMBEDDING_CHECKS:
        assert step.metrics[f"check_{check}"] == int((step.own["check"] == check).sum())
    assert step.metrics["embedded_images"] == step.metrics["images"] == len(step.planted.files)
    assert 0.6 < step.metrics["label_agreement"] < 1


def test_a_second_run_on_its_own_output_adds_nothing(step: Step, tmp_path: Path) -> None:
    again = run_component(step.archive, step.output, tmp_path)
    pd.testing.assert_frame_equal(again.findings, step.findings)


def test_clean_reads_the_findings_and_keeps_one_image_of_each_scene(step: Step) -> None:
    warned = decide_archive(step.archive, step.output, cleaning_policy({}, [], []), "", "").decided.images
    assert warned["keep"].all()
    groups = step.own[step.own["check"] == "semantic_duplicate"].groupby("group")["path"].apply(list)
    together = warned.set_index("path")["duplicate_group"]
    for members in groups:
        assert together[members].nunique() == 1, "split keeps them together"
    policy = cleaning_policy({"semantic_duplicate": "drop", "label_error": "drop"}, [], [])
    kept = decide_archive(step.archive, step.output, policy, "", "").decided.images.set_index("path")["keep"]
    assert not kept[step.own.loc[step.own["check"] == "label_error", "path"]].any()
    for members in groups:
        assert kept[members].sum() == 1


def test_the_page_is_small_and_shows_what_was_found(step: Step) -> None:
    text = step.report.read_text(encoding="utf-8")
    page = Elements(text)
    assert page.risks == []
    assert page.counts["img"] >= len(step.own)
    assert len(text) < 5_000_000
    for path in step.own["path"]:
        assert path in page.text


def hostile_archive(directory: Path) -> tuple[Path, Path]:
    """Return an archive of images with hostile names, some of them damaged, one dark, and its findings."""
    files = {f"{'a' if number % 2 else 'b'}/{name}": photo(number) for number, name in enumerate(HOSTILE * 2)}
    files |= {f"b/{number}.png": photo(100 + number, image_format="PNG") for number in range(8)}
    files |= {"a/cut.jpg": photo(50)[:900], "a/none.jpg": b"", "b/dark.png": flat(0)}
    archive = write_archive(directory / "archive", files, {})
    from components.audit.image_audit import audit_archive
    from components.audit.recommended import RECOMMENDED

    audit_archive(
        archive, directory / "findings", directory / "audit.html", RECOMMENDED, sample_images=0, workers=2, seed=0
    )
    return archive, directory / "findings"


def test_hostile_names_stay_text_and_unusable_images_take_no_part(tmp_path: Path) -> None:
    archive, findings = hostile_archive(tmp_path)
    done = run_component(archive, findings, tmp_path, label_error_confidence=1.0, outlier_deviation=0.1)
    page = Elements(done.report.read_text(encoding="utf-8"))
    assert page.risks == []
    assert page.counts["script"] == 1
    assert len(done.own) > 3
    assert not set(done.own["path"]) & {"a/cut.jpg", "a/none.jpg", "b/dark.png"}
    assert done.metrics["embedded_images"] == done.metrics["images"] - 3


def test_an_image_that_only_the_audit_can_decode_is_told_and_not_judged(tmp_path: Path) -> None:
    archive, findings = hostile_archive(tmp_path)
    measurements = read_measurements(findings)
    readable = measurements.assign(error=measurements["error"].mask(measurements["path"] == "a/cut.jpg"))
    readable.to_parquet(findings / "measurements.parquet", index=False)
    done = run_component(archive, findings, tmp_path, outlier_deviation=0.1)
    assert done.metrics["undecodable_images"] == 1
    assert "a/cut.jpg" in Elements(done.report.read_text(encoding="utf-8")).text
    assert "a/cut.jpg" not in set(done.own["path"])
    assert list(read_facts(done.output)["embedding"]["undecodable"]) == ["a/cut.jpg"]


def test_findings_of_another_archive_are_refused(step: Step, tmp_path: Path) -> None:
    other, _ = hostile_archive(tmp_path)
    with pytest.raises(UserError, match="the findings are of another archive"):
        audit_archive_embeddings(other, step.audited, settings(), tmp_path / "output", tmp_path / "page")
    assert not (tmp_path / "output").exists()


def test_an_archive_without_usable_images_is_refused(tmp_path: Path) -> None:
    archive, findings = hostile_archive(tmp_path)
    measurements = read_measurements(findings).assign(error="cut short")
    measurements.to_parquet(findings / "measurements.parquet", index=False)
    with pytest.raises(UserError, match="fewer than two images can be looked at"):
        audit_archive_embeddings(archive, findings, settings(), tmp_path / "output", tmp_path / "page")


@pytest.mark.parametrize(
    ("differs", "message"),
    [
        ({"backbone": "resnet"}, "backbone 'resnet' is unknown"),
        ({"weights": "imagenet"}, "Keras has no ImageNet weights for efficientnet_lite0"),
        ({"outlier_deviation": 0.0}, "outlier_deviation is 0: set it above 0"),
        ({"outlier_deviation": float("nan")}, "outlier_deviation is nan"),
        ({"label_error_confidence": 1.2}, "label_error_confidence is 1.2: set it between 0 and 1"),
        ({"semantic_duplicate_distance": -0.1}, "semantic_duplicate_distance is -0.1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_make_no_sense_end_the_step_before_it_reads_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], differs: dict[str, Any], message: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_component(tmp_path / "none", tmp_path / "none", tmp_path, **differs)
    assert ended.value.code == 2
    assert f"audit_embeddings: error: {message}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_gpu_that_is_required_and_missing_is_said(step: Step, capsys: pytest.CaptureFixture[str]) -> None:
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit) as ended:
        run_component(step.archive, step.audited, step.output.parent / "gpu", require_gpu=True)
    assert ended.value.code == 2
    assert "1 GPU(s) were asked for" in capsys.readouterr().err


def test_the_numbers_are_strict_json(step: Step) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (step.output / FACTS_FILE).read_text(encoding="utf-8")
    json.loads(text, parse_constant=refuse)
