"""What an earlier run found out about labels is cleaned by, as far as the images are as they were."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from components import storage
from components.clean.archive_cleaning import clean_archive
from components.clean.cleaning_policy import CleaningPolicy, cleaning_policy, read_policy_file
from components.clean.command_line import main
from components.clean.earlier_findings import find_earlier_findings, read_earlier_findings
from components.failures import UserError
from components.formats.decisions import POLICY_FILE, read_decisions, read_reasons
from components.formats.suspected_labels import LABEL_ERROR, SUSPECTED_LABELS_FILE, write_suspected_labels
from tests.clean.tables import catalog_of, findings_of, write_both

NOW = {
    "cat/same.jpg": "a", "cat/changed.jpg": "new", "dog/moved.jpg": "c", "cat/7.jpg": "e", "dog/1.jpg": "f",
    "dog/2.jpg": "g",
}  # fmt: skip
# By path: the digest that the earlier run knew, and how sure it was of the label.
FOUND = {"cat/same.jpg": ("a", 0.02), "cat/changed.jpg": ("b", 0.03), "cat/moved.jpg": ("c", 0.04),
         "cat/gone.jpg": ("d", 0.05), "dog/2.jpg": ("g", 0.06)}  # fmt: skip
WARNS, DROPS = cleaning_policy({}, [], []), cleaning_policy({LABEL_ERROR: "drop"}, [], [])


def suspected_of(found: dict[str, tuple[str, float]]) -> pd.DataFrame:
    table = findings_of([(path, LABEL_ERROR) for path in found])
    digests, measured = zip(*found.values(), strict=True) if found else ((), ())
    return table.assign(md5=list(digests), measured=list(measured), threshold=0.75)


def write_earlier_run(directory: Path, found: dict[str, tuple[str, float]] = FOUND) -> Path:
    folder = directory / "steps" / "image-classification-1" / "evaluate" / "suspected"
    folder.mkdir(parents=True)
    write_suspected_labels(suspected_of(found), folder)
    return folder


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An earlier run's suspected labels."""
    return write_earlier_run(tmp_path / "earlier")


def cleaned(
    folder: Path, earlier_findings: str, policy: CleaningPolicy = WARNS, found: tuple[tuple[str, ...], ...] = ()
) -> dict[str, int]:
    folder.mkdir()
    archive, findings = write_both(folder, catalog_of(NOW), findings_of(found))
    decisions, summary = folder / "decisions", folder / "summary.md"
    return clean_archive(archive, findings, policy, "", decisions, summary, earlier_findings=earlier_findings)


def test_they_warn_unless_the_policy_says_otherwise(earlier: Path, tmp_path: Path) -> None:
    counts = cleaned(tmp_path / "now", str(earlier))
    assert (counts["kept_images"], counts["warned_images"]) == (6, 2)
    reasons = read_reasons(tmp_path / "now" / "decisions").set_index("path")
    assert sorted(reasons.index) == ["cat/same.jpg", "dog/2.jpg"]
    of_image = reasons.loc["cat/same.jpg"].to_dict()
    assert [of_image[name] for name in ("check", "policy", "effect")] == [LABEL_ERROR, "warn", "warn"]
    assert (of_image["measured"], of_image["threshold"]) == (0.02, 0.75)


def test_where_the_policy_drops_each_decision_says_why(earlier: Path, tmp_path: Path) -> None:
    counts = cleaned(tmp_path / "now", str(earlier), DROPS)
    assert (counts["kept_images"], counts["dropped_by_label_error"]) == (4, 2)
    decisions = read_decisions(tmp_path / "now" / "decisions").set_index("path")
    of_image = decisions.loc["dog/2.jpg"].to_dict()
    assert [of_image[name] for name in ("action", "reasons", "check")] == ["drop", LABEL_ERROR, LABEL_ERROR]
    assert (of_image["measured"], of_image["threshold"]) == (0.06, 0.75)
    assert decisions["keep"].drop(["cat/same.jpg", "dog/2.jpg"]).all()


def test_a_person_overrules_them(earlier: Path, tmp_path: Path) -> None:
    policy = cleaning_policy({LABEL_ERROR: "drop"}, ["dog/2.jpg"], [])
    assert cleaned(tmp_path / "now", str(earlier), policy)["dropped_images"] == 1


def test_what_no_longer_applies_is_counted_and_said(
    earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = cleaned(tmp_path / "now", str(earlier))
    outcomes = {name.removeprefix("earlier_findings_"): counts[name] for name in counts if "earlier_findings_" in name}
    assert counts["earlier_findings"] == 5
    assert outcomes == {"applies": 2, "changed": 1, "moved": 1, "gone": 1}
    line = "clean: of 5 findings of an earlier run 2 still apply (1 changed, 1 moved, 1 gone)"
    assert line in capsys.readouterr().out.splitlines()
    summary = (tmp_path / "now" / "summary.md").read_text(encoding="utf-8")
    assert "suspected\\_labels.parquet names 5 images. As they were: 2; of these the policy decides: " in summary
    for row in (
        "| 2 | still applies |",
        "| cat/same.jpg | label\\_error in words | still applies |",
        "| cat/changed.jpg | label\\_error in words | no longer applies: the file has other bytes than before |",
        "| cat/moved.jpg | label\\_error in words | no longer applies: the image lies elsewhere now |",
        "| cat/gone.jpg | label\\_error in words | no longer applies: the image is not there |",
        "| label\\_error | warn \\(not in the policy\\) | 2 |  |  |  | 2 |  |",
    ):
        assert row.replace("\\(", "(").replace("\\)", ")") in summary


def test_a_run_that_suspected_nothing_changes_nothing(tmp_path: Path) -> None:
    earlier = write_earlier_run(tmp_path / "earlier", {})
    counts = cleaned(tmp_path / "now", str(earlier), DROPS)
    assert (counts["kept_images"], counts["earlier_findings"]) == (6, 0)
    assert "names 0 images." in (tmp_path / "now" / "summary.md").read_text(encoding="utf-8")


def test_what_both_runs_found_counts_once(earlier: Path, tmp_path: Path) -> None:
    counts = cleaned(tmp_path / "now", str(earlier), DROPS, (("dog/2.jpg", LABEL_ERROR), ("cat/7.jpg", LABEL_ERROR)))
    assert counts["dropped_by_label_error"] == 3
    reasons = read_reasons(tmp_path / "now" / "decisions")
    assert not reasons.duplicated(["path", "check"]).any()


def test_without_an_earlier_run_nothing_is_said_of_one(tmp_path: Path) -> None:
    counts = cleaned(tmp_path / "now", "")
    assert not [name for name in counts if "earlier" in name]
    assert "earlier run" not in (tmp_path / "now" / "summary.md").read_text(encoding="utf-8")


def test_the_record_of_what_was_decided_by_names_them_and_is_still_a_policy(earlier: Path, tmp_path: Path) -> None:
    cleaned(tmp_path / "now", str(earlier), DROPS)
    record = tmp_path / "now" / "decisions" / POLICY_FILE
    assert SUSPECTED_LABELS_FILE in record.read_text(encoding="utf-8")
    assert read_policy_file(record) == DROPS


def test_the_folder_of_a_whole_run_will_do(earlier: Path, tmp_path: Path) -> None:
    assert find_earlier_findings(str(tmp_path / "earlier")) == str(earlier / SUSPECTED_LABELS_FILE)
    write_earlier_run(tmp_path / "later")
    with pytest.raises(UserError, match="earlier_findings has several runs in it, .*: name the folder of one"):
        find_earlier_findings(str(tmp_path))


def test_a_folder_without_them_or_with_damaged_ones_is_refused(earlier: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no suspected_labels.parquet in .*empty: give the folder"):
        find_earlier_findings(str(tmp_path / "empty"))
    with pytest.raises(UserError, match="nowhere"):
        find_earlier_findings(str(tmp_path / "nowhere"))
    for content in (b"no parquet", None):
        if content is None:
            findings_of([]).to_parquet(earlier / SUSPECTED_LABELS_FILE)  # without digests
        else:
            (earlier / SUSPECTED_LABELS_FILE).write_bytes(content)
        with pytest.raises(UserError, match="is damaged, it holds no findings: evaluate that run again"):
            read_earlier_findings(str(earlier), catalog_of(NOW))


def test_cloud_storage_holds_an_earlier_run(earlier: Path, tmp_path: Path, new_bucket: Callable[[], str]) -> None:
    run = f"{new_bucket()}/pipelines/run-1"
    file = storage.join(run, "evaluate_77", "suspected", SUSPECTED_LABELS_FILE)
    storage.write_if_absent(file, (earlier / SUSPECTED_LABELS_FILE).read_bytes())
    for number, uri in enumerate((run, storage.join(run, "evaluate_77", "suspected"))):
        assert cleaned(tmp_path / str(number), uri, DROPS)["dropped_by_label_error"] == 2
    with pytest.raises(UserError, match=r"has no suspected_labels.parquet in gs://"):
        cleaned(tmp_path / "missing", f"{run}-2")


def test_the_command_line_takes_them(earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, findings = write_both(tmp_path, catalog_of(NOW), findings_of([]))
    assert main([str(archive), str(findings), "--earlier-findings", str(earlier)]) == 0
    out = capsys.readouterr().out
    assert "label_error             warn*" in out
    assert "of 5 findings of an earlier run 2 still apply (1 changed, 1 moved, 1 gone): " in out
    assert "cat/same.jpg  0.02 (limit 0.75)" in out


def test_many_findings_are_looked_up_as_a_loop_would(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    catalog = catalog_of({f"cat/{number}.jpg": str(random.integers(300)) for number in range(300)})
    known = dict(zip(catalog["path"], catalog["md5"], strict=True))
    found = {}
    for number in random.permutation(400)[:200]:
        path = f"cat/{number}.jpg"
        digest = known.get(path, "none") if number % 2 else str(random.integers(400))
        found[path] = (digest, 0.1)

    def outcome(path: str, digest: str) -> str:
        if path in known:
            return "applies" if known[path] == digest else "changed"
        return "moved" if digest in known.values() else "gone"

    earlier = read_earlier_findings(str(write_earlier_run(tmp_path, found)), catalog)
    assert earlier.findings["outcome"].tolist() == [outcome(path, digest) for path, (digest, _) in found.items()]
    assert min(earlier.counts.values()) > 0, "the draw shall hold every outcome"
