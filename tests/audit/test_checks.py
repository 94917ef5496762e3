"""Measurements to findings: each check fires where it should, once, and nowhere else."""

import dataclasses
import hashlib
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.audit.checks import CHECKS, run_checks
from components.formats.check_names import CHECK_MEANINGS, EMBEDDING_CHECKS
from components.formats.findings import FINDING_COLUMNS, SEVERITIES
from tests.audit.conftest import RECOMMENDED

USUAL: dict[str, Any] = {
    "recorded_label": None,
    "format": "JPEG",
    "mode": "RGB",
    "width_px": 640,
    "height_px": 480,
    "brightness": 110.0,
    "contrast": 50.0,
    "grayscale": False,
    "colour": 30.0,
    "error": None,
    "luma_p5": 30.0,
    "luma_p95": 200.0,
    "decoder_warning": None,
    "cause": None,
    "exif_rotated": False,
    "animated": False,
    "alpha": False,
    "sixteen_bit": False,
    "blur": 0.3,
    "entropy": 7.0,
    "near_group": None,
    "near_path": None,
    "near_correlation": np.nan,
}
UNREADABLE: dict[str, Any] = {
    "error": "its decoder crashed",
    "cause": "unreadable",
    "format": None,
    "mode": None,
    "width_px": 0,
    "height_px": 0,
    "brightness": np.nan,
    "contrast": np.nan,
    "luma_p5": np.nan,
    "luma_p95": np.nan,
    "blur": np.nan,
    "entropy": np.nan,
}
TEXTS = ["path", "filename", "label", "md5", "recorded_label", "format", "mode", "error", "decoder_warning", "cause"]
NEAR_TEXTS = ["near_group", "near_path"]
NONE_SKIPPED = pd.DataFrame({"path": [], "reason": []}, dtype="str")


def image(path: str, **differs: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "path": path,
        "filename": path.rpartition("/")[2],
        "label": path.partition("/")[0],
        "md5": path,
    }
    row["pixels"] = int(hashlib.md5(path.encode()).hexdigest()[:16], 16)
    return USUAL | row | differs


def usual_images(count: int = 40, label: str = "bird") -> list[dict[str, Any]]:
    """Return images that nothing is wrong with; sizes vary as a camera's and the web's do."""
    sides = [(640, 480), (480, 640), (800, 600), (500, 375)]
    return [
        image(f"{label}/{label}{number}.jpg", width_px=sides[number % 4][0], height_px=sides[number % 4][1])
        for number in range(count)
    ]


def found(*images: dict[str, Any], among: list[dict[str, Any]] | None = None) -> set[tuple[str, str]]:
    """Return (path, check) of what is found in these images among usual ones."""
    findings = findings_of(*images, among=among)
    return set(zip(findings["path"], findings["check"], strict=True))


def findings_of(
    *images: dict[str, Any], among: list[dict[str, Any]] | None = None, skipped: pd.DataFrame | None = None
) -> pd.DataFrame:
    rows = [*(usual_images() if among is None else among), *images]
    table = pd.DataFrame(rows)
    return run_checks(typed(table), NONE_SKIPPED if skipped is None else skipped, RECOMMENDED)


def typed(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype(dict.fromkeys([*TEXTS, *NEAR_TEXTS], "str") | {"pixels": "uint64"})


def test_checks_have_the_names_that_policies_use() -> None:
    assert {check.name for check in CHECKS} == set(CHECK_MEANINGS) - set(EMBEDDING_CHECKS)
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert {check.severity for check in CHECKS} == set(SEVERITIES)


def test_usual_images_have_no_findings() -> None:
    findings = findings_of()
    assert list(findings.columns) == list(FINDING_COLUMNS)
    assert findings.empty


def test_one_image_alone_has_only_its_class_to_complain_about() -> None:
    assert found(among=[image("bird/owl.jpg")]) == {("bird", "near_empty_class")}


@pytest.mark.parametrize(
    ("differs", "checks"),
    [
        pytest.param(UNREADABLE, {"unreadable"}, id="unreadable has no other findings"),
        pytest.param({"luma_p95": 39.0, "brightness": 12.0}, {"dark"}, id="dark"),
        pytest.param({"luma_p95": 40.0, "brightness": 12.0}, set(), id="not quite dark"),
        pytest.param({"brightness": 14.0, "luma_p5": 1.0, "luma_p95": 90.0}, set(), id="night with lit detail"),
        pytest.param({"luma_p5": 223.0, "luma_p95": 255.0}, {"bright"}, id="bright"),
        pytest.param({"luma_p5": 222.0, "luma_p95": 255.0}, set(), id="not quite bright"),
        pytest.param({"contrast": 4.9, "luma_p5": 120.0, "luma_p95": 130.0}, {"low_contrast"}, id="blank"),
        pytest.param({"contrast": 5.0}, set(), id="not quite blank"),
        pytest.param(
            {"contrast": 0.0, "brightness": 0.0, "luma_p5": 0.0, "luma_p95": 0.0, "grayscale": True, "colour": 0.0},
            {"dark"},
            id="a black frame is dark and nothing else",
        ),
        pytest.param(
            {
                "contrast": 0.0,
                "brightness": 255.0,
                "luma_p5": 255.0,
                "luma_p95": 255.0,
                "grayscale": True,
                "colour": 0.0,
            },
            {"bright"},
            id="a white frame is bright and nothing else",
        ),
        pytest.param(
            {"contrast": 0.0, "grayscale": True, "colour": 0.0},
            {"low_contrast"},
            id="a gray frame is blank, nothing else",
        ),
        pytest.param({"width_px": 31, "height_px": 40}, {"tiny"}, id="tiny is not also a size outlier"),
        pytest.param({"width_px": 20, "height_px": 20, "contrast": 0.0}, {"tiny"}, id="tiny is not also blank"),
        pytest.param({"width_px": 60, "height_px": 50}, {"size_outlier"}, id="small"),
        pytest.param({"width_px": 6000, "height_px": 5000}, {"size_outlier"}, id="large"),
        pytest.param({"width_px": 900, "height_px": 299}, {"aspect_outlier"}, id="wide"),
        pytest.param({"width_px": 299, "height_px": 900}, {"aspect_outlier"}, id="tall"),
        pytest.param({"width_px": 900, "height_px": 300}, set(), id="just not wide"),
        pytest.param({"format": "PNG"}, {"wrong_extension"}, id="wrong extension"),
        pytest.param({"decoder_warning": "junk"}, {"decoder_warning"}, id="decoder warning"),
        pytest.param({"grayscale": True, "colour": 0.0, "mode": "L"}, {"grayscale"}, id="grayscale"),
        pytest.param({"recorded_label": "fish"}, {"label_mismatch"}, id="label mismatch"),
        pytest.param({**UNREADABLE, "cause": "truncated"}, {"truncated"}, id="truncated"),
        pytest.param({**UNREADABLE, "cause": "corrupt"}, {"corrupt"}, id="corrupt"),
        pytest.param({**UNREADABLE, "cause": "empty_file"}, {"empty_file"}, id="empty file"),
        pytest.param({**UNREADABLE, "cause": "not_an_image"}, {"not_an_image"}, id="not an image"),
        pytest.param({**UNREADABLE, "cause": "decompression_bomb"}, {"decompression_bomb"}, id="bomb"),
        pytest.param({"exif_rotated": True}, {"exif_rotated"}, id="EXIF-rotated"),
        pytest.param({"animated": True}, {"animated"}, id="animated"),
        pytest.param({"mode": "CMYK"}, {"cmyk"}, id="CMYK"),
        pytest.param({"alpha": True, "mode": "P"}, {"alpha", "palette"}, id="palette with a transparent colour"),
        pytest.param({"sixteen_bit": True}, {"sixteen_bit"}, id="16 bits"),
        pytest.param({"blur": 0.56}, {"blurry"}, id="blurry"),
        pytest.param({"blur": 0.55}, set(), id="not quite blurry"),
        pytest.param(
            {"blur": 0.9, "width_px": 576, "height_px": 192}, {"blurry"}, id="53 px wide where it is measured"
        ),
        pytest.param(
            {"blur": 0.9, "width_px": 576, "height_px": 190}, {"aspect_outlier"}, id="too narrow to be judged"
        ),
        pytest.param({"blur": 0.9, "luma_p95": 12.0}, {"dark"}, id="dark is not also blurry"),
        pytest.param({"blur": 0.9, "contrast": 1.0}, {"low_contrast"}, id="blank is not also blurry"),
        pytest.param({"blur": 0.9, "width_px": 20, "height_px": 20}, {"tiny"}, id="tiny is not also blurry"),
        pytest.param({"entropy": 2.9, "blur": 0.9}, {"low_information"}, id="poor in information is not also blurry"),
        pytest.param({"entropy": 3.0}, set(), id="not quite poor in information"),
        pytest.param({"recorded_label": "bird"}, set(), id="label match"),
        pytest.param({**UNREADABLE, "recorded_label": "fish"}, {"unreadable", "label_mismatch"}, id="two causes"),
    ],
)
def test_findings_of_one_image(differs: dict[str, Any], checks: set[str]) -> None:
    assert found(image("bird/bird99.jpg", **differs)) == {("bird/bird99.jpg", check) for check in checks}


def test_a_message_is_a_sentence_with_value_and_limit() -> None:
    (row,) = findings_of(image("bird/bird99.jpg", luma_p95=15.0)).to_dict("records")
    assert row["message"] == "Extremely dark: 95 % of its pixels have luma up to 15 of 255, below 40."
    assert (row["measured"], row["threshold"], row["severity"]) == (15.0, 40.0, "warning")


@pytest.mark.parametrize(
    "differs",
    [
        {"luma_p95": 15.0},
        {"luma_p5": 230.0},
        {"contrast": 1.0},
        {"width_px": 8, "height_px": 8},
        {"width_px": 70, "height_px": 70},
        {"width_px": 5000, "height_px": 5000},
        {"width_px": 900, "height_px": 100},
    ],
)
def test_measured_value_and_threshold_are_finite_and_in_the_message(differs: dict[str, Any]) -> None:
    for row in findings_of(image("bird/bird99.jpg", **differs)).to_dict("records"):
        assert np.isfinite([row["measured"], row["threshold"]]).all()
        assert f"{row['threshold']:.0f}" in row["message"]
        assert row["message"].endswith(".")


def test_exact_duplicates_name_each_other_and_share_a_group() -> None:
    copies = [image(f"bird/bird{number}.jpg", md5="same") for number in (90, 91, 92)]
    findings = findings_of(*copies)
    assert findings["check"].tolist() == ["exact_duplicate"] * 3
    assert findings["path"].tolist() == ["bird/bird90.jpg", "bird/bird91.jpg", "bird/bird92.jpg"]
    assert findings["related_path"].tolist() == ["bird/bird91.jpg", "bird/bird90.jpg", "bird/bird90.jpg"]
    assert findings["group"].tolist() == ["same"] * 3
    assert findings["measured"].tolist() == [3.0] * 3


def test_the_same_bytes_under_two_labels_conflict() -> None:
    among = usual_images(20) + usual_images(20, "fish")
    members = [
        image("bird/bird90.jpg", md5="same"),
        image("bird/bird91.jpg", md5="same"),
        image("fish/fish90.jpg", md5="same"),
    ]
    findings = findings_of(*members, among=among)
    conflicts = findings[findings["check"] == "conflicting_label"]
    assert conflicts["path"].tolist() == [member["path"] for member in members]
    assert conflicts["related_path"].tolist() == ["fish/fish90.jpg", "fish/fish90.jpg", "bird/bird90.jpg"]
    assert conflicts["severity"].unique().tolist() == ["error"]
    assert "'bird', 'fish'" in conflicts["message"].iloc[0]
    duplicates = findings[findings["check"] == "exact_duplicate"]
    assert duplicates["path"].tolist() == ["bird/bird90.jpg", "bird/bird91.jpg"]
    assert findings["group"].unique().tolist() == ["same"]


def test_broken_copies_are_broken_and_not_copies() -> None:
    broken = [image(f"bird/bird{number}.jpg", md5="empty", **UNREADABLE) for number in (90, 91)]
    assert {check for _, check in found(*broken)} == {"unreadable"}


def test_the_same_pixels_in_other_bytes() -> None:
    copies = [image(f"bird/bird{number}.jpg", pixels=255) for number in (90, 91)]
    findings = findings_of(*copies)
    assert findings["check"].tolist() == ["identical_pixels"] * 2
    assert findings["related_path"].tolist() == ["bird/bird91.jpg", "bird/bird90.jpg"]
    assert findings["group"].tolist() == ["pixels-00000000000000ff"] * 2


def test_equal_bytes_and_blank_frames_are_no_identical_pixels() -> None:
    same_bytes = [image(f"bird/bird{number}.jpg", pixels=1, md5="same") for number in (90, 91)]
    blank = [image(f"bird/bird{number}.jpg", pixels=2, contrast=0.0) for number in (92, 93)]
    assert {check for _, check in found(*same_bytes, *blank)} == {"exact_duplicate", "low_contrast"}


def test_the_same_pixels_under_two_labels_conflict() -> None:
    among = usual_images(20) + usual_images(20, "fish")
    findings = findings_of(image("bird/bird90.jpg", pixels=9), image("fish/fish90.jpg", pixels=9), among=among)
    assert findings["check"].tolist() == ["near_conflicting_label"] * 2
    assert findings["related_path"].tolist() == ["fish/fish90.jpg", "bird/bird90.jpg"]
    assert findings["measured"].tolist() == [1.0, 1.0]


def near(path: str, other: str, **differs: Any) -> dict[str, Any]:
    return image(path, near_group="near-1", near_path=other, near_correlation=0.95, **differs)


def test_near_duplicates_in_a_class_and_across_classes() -> None:
    among = usual_images(20) + usual_images(20, "fish")
    pair = [near("bird/bird90.jpg", "bird/bird91.jpg"), near("bird/bird91.jpg", "bird/bird90.jpg")]
    findings = findings_of(*pair, among=among)
    assert findings["check"].tolist() == ["near_duplicate"] * 2
    assert findings["measured"].tolist() == [0.95, 0.95]
    assert findings["related_path"].tolist() == ["bird/bird91.jpg", "bird/bird90.jpg"]
    findings = findings_of(*pair, near("fish/fish90.jpg", "bird/bird90.jpg"), among=among)
    assert findings["check"].value_counts().to_dict() == {"near_conflicting_label": 3, "near_duplicate": 2}
    assert findings["group"].unique().tolist() == ["near-1"]


def test_files_outside_class_folders_are_told() -> None:
    skipped = pd.DataFrame({"path": ["logo.jpg", "a.txt"], "reason": ["outside any class folder", "documentation"]})
    findings = findings_of(skipped=skipped.astype("str"))
    assert list(zip(findings["path"], findings["check"], strict=True)) == [("logo.jpg", "loose_file")]


def test_one_name_in_two_folders() -> None:
    among = usual_images(20) + usual_images(20, "fish")
    # A name that fits neither folder's pattern would be reported for that too.
    pair = [image("bird/x/IMG1.jpg", label="bird"), image("fish/y/IMG1.jpg", label="fish")]
    findings = findings_of(*pair, among=among)
    named = findings[findings["check"] == "duplicate_filename"]
    assert named["path"].tolist() == ["bird/x/IMG1.jpg", "fish/y/IMG1.jpg"]
    assert named["related_path"].tolist() == ["fish/y/IMG1.jpg", "bird/x/IMG1.jpg"]
    assert named["group"].isna().all(), "the same name does not make copies"


def test_nested_folders_are_relative_to_the_class_folder() -> None:
    deeper = image("bird/zoo/bird99.jpg")
    class_below_the_root = image("train/bird/bird98.jpg", label="bird")
    assert found(deeper, class_below_the_root) == {("bird/zoo/bird99.jpg", "nested_folder")}


def test_too_few_images_have_no_size_outliers() -> None:
    few = [image(f"bird/{number}.jpg") for number in range(15)]
    assert found(image("bird/15.jpg", width_px=6000, height_px=5000), among=few) == set()


def test_sizes_that_hardly_vary_make_no_outlier_of_a_pixel() -> None:
    equal = [image(f"bird/{number}.jpg", width_px=256, height_px=256) for number in range(40)]
    slightly = image("bird/40.jpg", width_px=257, height_px=256)
    greatly = image("bird/41.jpg", width_px=600, height_px=600)
    assert found(slightly, greatly, among=equal) == {("bird/41.jpg", "size_outlier")}


def test_a_grayscale_data_set_is_no_finding() -> None:
    gray = [image(f"bird/{number}.jpg", grayscale=True, colour=0.0, mode="L") for number in range(30)]
    assert found(image("bird/30.jpg"), among=gray) == set()


def test_classes_that_are_small_or_nearly_empty() -> None:
    among = usual_images(200) + usual_images(15, "fish") + usual_images(3, "newt")
    broken = [image(f"yak/yak{number}.jpg", **UNREADABLE) for number in range(2)]
    assert found(*broken, among=among) == {
        ("fish", "class_imbalance"),
        ("newt", "near_empty_class"),
        ("yak", "near_empty_class"),
        ("yak/yak0.jpg", "unreadable"),
        ("yak/yak1.jpg", "unreadable"),
    }


def test_class_names_that_look_alike() -> None:
    among = usual_images(20, "Red_Fox") + usual_images(20, "redfox") + usual_images(20, "fish")
    findings = findings_of(among=among)
    alike = findings[findings["check"] == "similar_class_names"]
    assert alike["path"].tolist() == ["Red_Fox", "redfox"]
    assert alike["related_path"].tolist() == ["redfox", "Red_Fox"]


def test_class_folders_with_odd_names_or_mixed_extensions() -> None:
    among = usual_images(20) + usual_images(20, "sea horse")
    mixed = image("bird/bird99.png", format="PNG")
    findings = findings_of(mixed, among=among)
    named = findings[findings["check"] == "naming_inconsistency"].set_index("path")["message"]
    assert named["bird"] == "Class folder: its files have extensions of different formats (20 JPEG, 1 PNG)."
    assert named["sea horse"] == "Class folder: its name contains white space."
    assert (named.index == "bird/bird99.png").sum() == 0


def test_all_images_may_be_unreadable() -> None:
    broken = [image(f"bird/{number}.jpg", **UNREADABLE) for number in range(30)]
    assert {check for _, check in found(among=broken)} == {"unreadable", "near_empty_class"}


def test_order_does_not_depend_on_the_order_of_images() -> None:
    rows = [
        *usual_images(),
        image("bird/bird97.jpg", md5="same", luma_p95=3.0),
        image("bird/bird98.jpg", md5="same", recorded_label="fish"),
        image("bird/bird 99.jpg", **UNREADABLE),
    ]
    findings = findings_of(among=rows)
    pd.testing.assert_frame_equal(findings, findings_of(among=rows[::-1]))
    assert findings["severity"].tolist() == sorted(findings["severity"], key=SEVERITIES.index)


def test_thresholds_are_followed() -> None:
    strict = dataclasses.replace(RECOMMENDED, dark_brightness=201.0, tiny_side_px=700)
    table = pd.DataFrame([image("bird/owl.jpg")])
    findings = run_checks(typed(table), NONE_SKIPPED, strict)
    assert set(findings["check"]) == {"dark", "tiny", "near_empty_class"}


def test_what_is_few_of_a_class_is_a_threshold_too() -> None:
    table = typed(pd.DataFrame(usual_images(30) + usual_images(12, "fish")))
    few = run_checks(table, NONE_SKIPPED, dataclasses.replace(RECOMMENDED, near_empty_class_images=13))
    assert few[["path", "check", "measured", "threshold"]].values.tolist() == [["fish", "near_empty_class", 12, 13]]
    outnumbered = run_checks(table, NONE_SKIPPED, dataclasses.replace(RECOMMENDED, class_imbalance_ratio=2.0))
    assert outnumbered[["path", "check", "measured", "threshold"]].values.tolist() == [
        ["fish", "class_imbalance", 2.5, 2]
    ]


def test_what_is_gray_and_what_a_pattern_is_are_thresholds_too() -> None:
    pale = image("bird/pale.jpg", colour=4.0, grayscale=True)
    table = typed(pd.DataFrame([*usual_images(30), pale]))
    loose = dataclasses.replace(RECOMMENDED, grayscale_difference=5.0, naming_pattern_share=0.98)
    assert run_checks(table, NONE_SKIPPED, loose)[["path", "check", "measured", "threshold"]].values.tolist() == [
        ["bird/pale.jpg", "grayscale", 4, 5]
    ]
    strict = run_checks(table, NONE_SKIPPED, dataclasses.replace(loose, naming_pattern_share=0.9))
    assert set(strict["check"]) == {"grayscale", "naming_inconsistency"}
