"""Progress is told at the end, whatever the speed, with what an earlier attempt did."""

import pytest

from components.image_progress import ImageProgress


def test_the_end_is_told_and_items_pass_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(ImageProgress("split", 3).count("abc")) == ["a", "b", "c"]
    assert capsys.readouterr().out.startswith("split: 3 of 3 images, ")


def test_what_was_done_before_counts_but_not_as_speed(capsys: pytest.CaptureFixture[str]) -> None:
    progress = ImageProgress("audit", 1_000_002)
    progress.resumed(1_000_000)
    progress.done(2)
    before, after = capsys.readouterr().out.splitlines()
    assert before == "audit: 1,000,000 of 1,000,002 images were done before"
    assert after.startswith("audit: 1,000,002 of 1,000,002 images, ")
