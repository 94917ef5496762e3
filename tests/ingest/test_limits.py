"""Safe names and limits."""

import posixpath
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.failures import UserError
from components.ingest.limits import Limits, require_distinct_names, require_safe_names, unsafe_reason

hostile_names = st.lists(
    st.sampled_from(["..", ".", "", "/", "\\", "C:", "\0", "\n", "\ud800", "bird", "owl.jpg", " ", "ä", "con"]),
    max_size=6,
).flatmap(lambda parts: st.sampled_from(["/".join(parts), "".join(parts), "\\".join(parts)]))


@given(name=st.one_of(st.text(max_size=30), hostile_names))
@example("a/../../etc/passwd")
@example("C:/Windows")
def test_a_safe_name_stays_inside_any_folder_and_is_its_own_normal_form(name: str) -> None:
    if unsafe_reason(name) is not None:
        return
    assert not PurePosixPath(name).is_absolute()
    assert not PureWindowsPath(name).drive
    assert posixpath.normpath(f"/data/{name}") == f"/data/{name}"
    assert Path("/data", name).is_relative_to("/data")
    assert ".." not in PureWindowsPath(name).parts
    assert name.encode("utf-8").decode() == name
    assert "\0" not in name


@given(parts=st.lists(st.text("abcXYZ019 -_.äöüé梟()[]#%&'", min_size=1, max_size=12), min_size=1, max_size=4))
def test_ordinary_names_are_safe(parts: list[str]) -> None:
    if any(part in {".", ".."} for part in parts):
        return
    assert unsafe_reason("/".join(parts)) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty"),
        ("/etc/passwd", "absolute"),
        ("../x.jpg", r"'\.\.'"),
        ("bird/../../x.jpg", r"'\.\.'"),
        ("./bird/x.jpg", r"'\.'"),
        ("bird//x.jpg", "empty"),
        ("bird\\x.jpg", "backslash"),
        ("C:/x.jpg", "drive letter"),
        ("c:x.jpg", "drive letter"),
        ("bird/x.jpg\0.txt", "control character"),
        ("bird/x\n.jpg", "control character"),
        ("bird/\udcff.jpg", "UTF-8"),
    ],
)
def test_unsafe_names_are_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        require_safe_names("Animals.zip", ["bird/owl.jpg", name])


def test_the_picture_of_a_macos_folder_is_no_attack() -> None:
    require_safe_names("Animals.zip", ["bird/Icon\r"])


@pytest.mark.parametrize("other", ["bird/owl.jpg", "bird/OWL.jpg", "BIRD/owl.jpg"])
def test_names_that_a_file_system_may_confuse_are_refused(other: str) -> None:
    with pytest.raises(UserError, match="rename or remove one of the two"):
        require_distinct_names("Animals.zip", ["bird/owl.jpg", "bird/owls.jpg", other])


def test_composed_and_decomposed_accents_are_one_name() -> None:
    with pytest.raises(UserError, match="many systems take for the same name"):
        require_distinct_names("Animals.zip", ["bird/n\u00e9.jpg", "bird/ne\u0301.jpg"])


@pytest.mark.parametrize("name", ["max_files", "max_file_mib", "max_total_gib", "max_compression_ratio"])
def test_limits_are_at_least_one(name: str) -> None:
    values = {"max_files": 1, "max_file_mib": 1, "max_total_gib": 1, "max_compression_ratio": 1, name: 0}
    with pytest.raises(UserError, match=f"{name} is 0; it must be at least 1"):
        Limits(**values)
