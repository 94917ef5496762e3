"""Which version each alias names, whatever is entered, promoted and rolled back in whatever order."""

import json

import pytest

from components.failures import UserError
from components.register.promotion_gate import Difference, Gate, NotCompared, Scores
from components.register.version_index import Index, VersionRecord, enter, promote, rollback

EMPTY = Index("trees", (), {})


def entered(index: Index, version: str, accuracy: float, minimum: float = 0.5, *, compared: bool = True) -> Index:
    record = VersionRecord(version, f"versions/{version}/x", "2026-01-01", accuracy, "d1", "run", accuracy, accuracy)
    champion = index.find(index.aliases.get("champion"))
    beside: Difference | NotCompared | None = None
    if champion:
        more = round(accuracy - champion.accuracy, 6)
        p = 0.01 if more else 1.0
        beside = Difference(champion.version, 100, 100, more, more, more, p)
    if champion and not compared:
        beside = NotCompared(champion.version, "too few images")
    return enter(index, record, Gate(minimum), Scores(accuracy, accuracy, accuracy, {}, beside=beside))[0]


def index_of(**accuracies: float) -> Index:
    index = EMPTY
    for version, accuracy in accuracies.items():
        index = entered(index, version, accuracy)
    return index


def test_the_first_is_candidate_and_champion() -> None:
    assert index_of(A=0.8).aliases == {"candidate": "A", "champion": "A"}


def test_a_better_one_takes_over() -> None:
    assert index_of(A=0.8, B=0.9).aliases == {"candidate": "B", "champion": "B", "previous": "A"}


def test_a_rejected_one_gets_no_alias_and_keeps_its_reasons() -> None:
    index = index_of(A=0.8, B=0.4)
    assert index.aliases == {"candidate": "A", "champion": "A"}
    record = index.named("B")
    assert not record.gate_passed
    assert record.gate_rejections[0] == "test accuracy 0.4000 is below the required 0.5000"


def test_entering_again_changes_nothing() -> None:
    index = index_of(A=0.8, B=0.9, C=0.7)
    for version, accuracy in (("A", 0.8), ("B", 0.9), ("C", 0.7)):
        assert entered(index, version, accuracy) == index


def test_a_replaced_champion_does_not_come_back_by_being_registered_again() -> None:
    index = index_of(A=0.8, B=0.8)
    assert entered(index, "A", 0.8) == index
    assert index.aliases == {"candidate": "B", "champion": "B", "previous": "A"}


def test_a_champion_stays_when_the_minimum_rises() -> None:
    index = index_of(A=0.8)
    assert entered(index, "A", 0.8, minimum=0.99) == index


def test_one_that_was_rejected_is_judged_anew() -> None:
    index = entered(EMPTY, "A", 0.8, minimum=0.9)
    assert index.aliases == {}
    index = entered(index, "A", 0.8, minimum=0.8)
    assert index.aliases == {"candidate": "A", "champion": "A"}
    assert len(index.versions) == 1
    assert index.versions[0].gate_rejections == ()


def test_a_candidate_that_is_rejected_later_leaves_the_newest_accepted_one() -> None:
    beside = Scores(0.7, 0.6, 0.8, {}, beside=Difference("A", 100, 100, -0.1, -0.2, 0.01, 0.06))
    record = VersionRecord("B", "versions/B/x", "2026-01-01", 0.7, "d1", "run", 0.6, 0.8)
    index = enter(index_of(A=0.8), record, Gate(0.5), beside)[0]
    assert index.aliases == {"candidate": "B", "champion": "A"}
    assert enter(index, record, Gate(0.75), beside)[0].aliases == {"candidate": "A", "champion": "A"}


def test_promote_and_roll_back() -> None:
    candidate = entered(index_of(A=0.8), "B", 0.7, compared=False)
    assert candidate.aliases == {"candidate": "B", "champion": "A"}
    assert entered(candidate, "B", 0.7, compared=False) == candidate
    index = promote(candidate, "B", even_rejected=False)
    assert index.aliases == {"candidate": "B", "champion": "B", "previous": "A"}
    back = rollback(index)
    assert back.aliases == {"candidate": "B", "champion": "A", "previous": "B"}
    assert entered(back, "B", 0.9) == back, "registered again, it does not come back"
    assert promote(back, "candidate", even_rejected=False).aliases == index.aliases
    assert rollback(rollback(index)) == index


def test_promoting_the_champion_changes_nothing() -> None:
    index = index_of(A=0.8, B=0.9)
    assert promote(index, "champion", even_rejected=False) == index


def test_a_rejected_one_is_promoted_only_on_purpose() -> None:
    index = index_of(A=0.8, B=0.4)
    with pytest.raises(UserError, match="B was rejected: test accuracy 0.4000 .*--even-rejected"):
        promote(index, "B", even_rejected=False)
    assert promote(index, "B", even_rejected=True).aliases["champion"] == "B"


def test_nothing_to_roll_back_to() -> None:
    with pytest.raises(UserError, match="has had no champion before"):
        rollback(index_of(A=0.8))


@pytest.mark.parametrize(
    ("name", "message"),
    [("abcd", "names more than one version"), ("zzzz", "is no version or alias"), ("abc", "is no version or alias")],
)
def test_names_that_name_nothing(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        index_of(abcd11=0.8, abcd22=0.9).named(name)


def test_a_version_by_its_first_digits() -> None:
    assert index_of(abcd11=0.8, abcd22=0.9).named("abcd1").version == "abcd11"


def test_round_trip() -> None:
    index = index_of(A=0.8, B=0.4)
    assert Index.from_bytes(index.to_bytes(), "index.json") == index


def test_an_index_from_before_there_were_rejections() -> None:
    value = json.loads(index_of(A=0.8).to_bytes())
    for name in ("accuracy_low", "accuracy_high", "gate_rejections", "promoted"):
        del value["versions"][0][name]
    (record,) = Index.from_bytes(json.dumps(value).encode(), "index.json").versions
    assert record.promoted


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        ("accuracy", "x", "accuracy of a version is 'x'"),
        ("accuracy", True, "accuracy of a version is True"),
        ("accuracy", float("nan"), "not from 0 to 1"),
        ("accuracy_low", 1.5, "not from 0 to 1"),
        ("created", 5, "created of a version is 5"),
        ("gate_passed", "no", "gate_passed of a version is 'no'"),
        ("path", "versions/A/../../B", "the path of version 'A' is"),
        ("path", "/etc/passwd/x", "the path of version 'A' is"),
        ("path", "versions/A/..", "the path of version 'A' is"),
        ("path", "versions/B/x", "the path of version 'A' is"),
        ("version", None, "version of a version is None"),
    ],
)
def test_an_index_with_a_wrong_value(where: str, value: object, reason: str) -> None:
    index = json.loads(index_of(A=0.8).to_bytes())
    index["versions"][0][where] = value
    with pytest.raises(UserError, match=f"trees/index.json is damaged .*{reason}"):
        Index.from_bytes(json.dumps(index).encode(), "trees/index.json")


@pytest.mark.parametrize("version", ["B", None, ["A"], 5])
def test_an_alias_of_a_version_that_is_not_listed(version: object) -> None:
    index = json.loads(index_of(A=0.8).to_bytes())
    index["aliases"]["champion"] = version
    with pytest.raises(UserError, match="is damaged"):
        Index.from_bytes(json.dumps(index).encode(), "index.json")


def test_a_version_that_is_listed_twice() -> None:
    index = json.loads(index_of(A=0.8).to_bytes())
    index["versions"] *= 2
    with pytest.raises(UserError, match="lists a version twice"):
        Index.from_bytes(json.dumps(index).encode(), "index.json")


def test_states() -> None:
    index = promote(index_of(A=0.8, B=0.4, C=0.3), "B", even_rejected=True)
    assert [record.state for record in index.versions] == ["accepted", "promoted", "rejected"]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"versions": [{}], "aliases": {}, "model_name": "a"}', b"\xff"])
def test_a_damaged_index(data: bytes) -> None:
    with pytest.raises(UserError, match=r"index\.json is damaged"):
        Index.from_bytes(data, "index.json")
