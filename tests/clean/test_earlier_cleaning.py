"""What a cleaning decides differently from an earlier one is counted, listed and explained."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from components import storage
from components.clean.archive_cleaning import clean_archive
from components.clean.cleaning_policy import CleaningPolicy, cleaning_policy
from components.clean.earlier_cleaning import changes_since, read_earlier_cleaning
from components.failures import UserError
from components.formats.decisions import read_changes
from tests.clean.tables import catalog_of, distinct_catalog, findings_of, write_both

BEFORE = {"cat/1.jpg": "a", "cat/2.jpg": "b", "cat/3.jpg": "c", "cat/gone.jpg": "d", "dog/1.jpg": "e"}
NOW = {"cat/1.jpg": "a", "cat/2.jpg": "b", "cat/3.jpg": "other", "cat/new.jpg": "f", "dog/1.jpg": "e"}


def cleaned(
    folder: Path, digests: dict[str, str], found: list[tuple[str, ...]], policy: CleaningPolicy, previous: str = ""
) -> dict[str, int]:
    folder.mkdir()
    archive, findings = write_both(folder, catalog_of(digests), findings_of(found))
    outputs = (folder / "decisions", folder / "summary.md")
    return clean_archive(archive, findings, policy, previous, *outputs, earlier_findings="")


def test_changes_are_counted_listed_and_explained(tmp_path: Path) -> None:
    drops = cleaning_policy({"dark": "drop", "tiny": "drop"}, [], [])
    cleaned(tmp_path / "before", BEFORE, [("cat/1.jpg", "dark"), ("cat/gone.jpg", "tiny")], drops)
    counts = cleaned(
        tmp_path / "now",
        NOW,
        [("cat/1.jpg", "dark"), ("cat/3.jpg", "tiny")],
        cleaning_policy({"dark": "warn", "tiny": "drop"}, [], []),
        str(tmp_path / "before" / "decisions"),
    )
    changed = {name: counts[f"{name}_images"] for name in ("newly_dropped", "newly_kept", "new", "gone")}
    assert changed == {"newly_dropped": 1, "newly_kept": 1, "new": 1, "gone": 1}
    changes = read_changes(tmp_path / "now" / "decisions")
    assert [tuple(row) for row in changes.drop(columns="label").itertuples(index=False, name=None)] == [
        ("cat/3.jpg", "newly_dropped", False, "", "tiny", True),
        ("cat/1.jpg", "newly_kept", True, "dark", "", False),
        ("cat/new.jpg", "new", True, "", "", False),
        ("cat/gone.jpg", "gone", False, "tiny", "", False),
    ]
    assert set(changes["label"]) == {"cat"}
    text = (tmp_path / "now" / "summary.md").read_text()
    assert "| newly\\_dropped | 1 | kept before, dropped now |" in text
    assert "| cat/3.jpg | newly\\_dropped | now tiny; the file has other bytes than before |" in text
    assert "| cat/1.jpg | newly\\_kept | no longer dark |" in text
    assert "The policy differs: dark was drop, is warn." in text


def test_nothing_changed(tmp_path: Path) -> None:
    policy = cleaning_policy({"dark": "drop"}, [], [])
    cleaned(tmp_path / "before", BEFORE, [("cat/1.jpg", "dark")], policy)
    counts = cleaned(tmp_path / "now", BEFORE, [("cat/1.jpg", "dark")], policy, str(tmp_path / "before" / "decisions"))
    assert counts["newly_dropped_images"] == counts["gone_images"] == 0
    assert read_changes(tmp_path / "now" / "decisions").empty
    assert "Every image is decided about as it was." in (tmp_path / "now" / "summary.md").read_text()


def test_decisions_of_the_first_version_can_be_compared_with(tmp_path: Path) -> None:
    catalog = distinct_catalog("cat/1.jpg", "dog/1.jpg")
    catalog.assign(keep=True, reasons="").to_parquet(tmp_path / "catalog.parquet")
    earlier = read_earlier_cleaning(str(tmp_path))
    assert earlier.actions == {}
    assert changes_since(earlier.images, catalog.assign(keep=True, reasons="")).empty


def test_what_holds_no_decisions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="previous_decisions has no .*catalog.parquet"):
        read_earlier_cleaning(str(tmp_path))
    distinct_catalog("cat/1.jpg").to_parquet(tmp_path / "catalog.parquet")
    with pytest.raises(UserError, match="holds no decisions"):
        read_earlier_cleaning(str(tmp_path))
    (tmp_path / "catalog.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="holds no decisions"):
        read_earlier_cleaning(str(tmp_path))


def test_images_only_one_cleaning_knows_are_no_other_bytes() -> None:
    one = distinct_catalog("cat/1.jpg").assign(keep=True, reasons="")
    other = distinct_catalog("cat/2.jpg").assign(keep=False, reasons="dark")
    changes = changes_since(one, other)
    pd.testing.assert_series_equal(changes["other_bytes"], pd.Series([False, False]), check_names=False)
    assert list(changes["change"]) == ["new", "gone"]


def test_cloud_storage_holds_earlier_decisions_and_lists(tmp_path: Path, new_bucket: Callable[[], str]) -> None:
    bucket = new_bucket()
    drops = cleaning_policy({"dark": "drop"}, [], [])
    cleaned(tmp_path / "before", BEFORE, [("cat/1.jpg", "dark"), ("cat/2.jpg", "dark")], drops)
    for file in (tmp_path / "before" / "decisions").iterdir():
        storage.write_if_absent(storage.join(bucket, "decisions", file.name), file.read_bytes())
    storage.write_if_absent(storage.join(bucket, "keep.txt"), b"cat/2.jpg\n")
    policy = cleaning_policy({"dark": "drop"}, [f"@{bucket}/keep.txt"], [])
    found: list[tuple[str, ...]] = [("cat/1.jpg", "dark"), ("cat/2.jpg", "dark")]
    counts = cleaned(tmp_path / "now", BEFORE, found, policy, storage.join(bucket, "decisions"))
    assert (counts["newly_kept_images"], counts["newly_dropped_images"]) == (1, 0)
