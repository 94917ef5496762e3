"""Others know what the index says: each version once and completely, and who is the champion, whoever tells them."""

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.failures import TransientError, UserError
from components.register.announcement import ModelNews
from components.register.command_line import main
from components.register.other_registries import Listener, announce, check_other_registries, other_registry
from components.register.promotion_gate import Gate
from components.register.version_index import Index, make_champion, promote, rollback
from components.register.vertex_registry import VertexRegistry, model_identifier
from tests.register.conftest import Register
from tests.register.kubeflow_api import KubeflowApi, text
from tests.register.mlflow_server import mlflow_server
from tests.register.told_registries import (
    Other,
    Trees,
    api_service,
    forget_trees,
    served,
    told_kubeflow,
    told_mlflow,
    told_vertex,
    without_order,
)
from tests.register.vertex_api import VertexApi

SERVING = "project/europe-west4/registry.example/serving:1"
ASH, BIRCH, CEDAR = "aaaa11112222", "bbbb11112222", "cccc11112222"


@pytest.fixture
def kubeflow() -> Iterator[tuple[KubeflowApi, str]]:
    """A Kubeflow Model Registry, and its target."""
    api = KubeflowApi()
    with served(api) as address:
        yield api, f"kubeflow:{address}"


@pytest.fixture
def vertex() -> Iterator[tuple[VertexApi, VertexRegistry]]:
    """Vertex AI, and a registry that talks to it."""
    api = VertexApi()
    with served(api) as address:
        yield api, VertexRegistry(SERVING, api_service(address))


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an MLflow server."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(params=["kubeflow", "vertex", "mlflow"])
def other(request: pytest.FixtureRequest) -> Other:
    """Each kind of registry in turn, empty."""
    if request.param == "kubeflow":
        api, target = request.getfixturevalue("kubeflow")
        return Other(other_registry(target), lambda: told_kubeflow(api), api)
    if request.param == "vertex":
        vertex_api, registry = request.getfixturevalue("vertex")
        return Other(registry, lambda: told_vertex(vertex_api), vertex_api)
    address = request.getfixturevalue("mlflow")
    forget_trees(address)
    return Other(other_registry(f"mlflow:{address}"), lambda: told_mlflow(address))


@pytest.fixture
def trees(request: pytest.FixtureRequest, tmp_path: Path) -> Trees:
    """A registry of our own without a version; for MLflow, which takes no folder, in a bucket."""
    if "mlflow" in request.fixturenames or "[mlflow]" in request.node.name:
        return Trees(f"{request.getfixturevalue('new_bucket')()}/models")
    return Trees(str(tmp_path / "registry"))


def champion(version: str) -> Callable[[Index], Index]:
    return lambda index: make_champion(index, index.named(version))[0]


def test_the_champion_moves_there_too(other: Other, trees: Trees) -> None:
    trees.add(ASH, candidate=ASH, champion=ASH)
    announce(other.registry, trees.registry, [ASH])
    assert without_order(other.told()) == without_order(trees.told(ASH))
    trees.add(BIRCH, candidate=BIRCH)
    trees.registry.change(champion(BIRCH))
    for _ in range(2):
        announce(other.registry, trees.registry, [BIRCH])
        assert other.told().aliases == {"candidate": BIRCH, "champion": BIRCH, "previous": ASH}
        assert without_order(other.told()) == without_order(trees.told(ASH, BIRCH))
    trees.registry.change(rollback)
    announce(other.registry, trees.registry, [BIRCH])
    assert other.told().aliases == {"candidate": BIRCH, "champion": ASH, "previous": BIRCH}


def test_whoever_is_named_is_known_and_the_rest_on_demand(other: Other, trees: Trees) -> None:
    trees.add(ASH, champion=ASH)
    trees.add(BIRCH, passed=False)
    trees.add(CEDAR, candidate=CEDAR)
    announce(other.registry, trees.registry, [CEDAR])
    assert without_order(other.told()) == without_order(trees.told(ASH, CEDAR)), "ash is the champion"
    announce(other.registry, trees.registry, [ASH, BIRCH, CEDAR])
    assert without_order(other.told()) == without_order(trees.told(ASH, BIRCH, CEDAR))


def test_what_was_told_of_another_version_is_brought_up_to_date(other: Other, trees: Trees) -> None:
    trees.add(ASH, passed=False)
    trees.add(BIRCH, candidate=BIRCH, champion=BIRCH)
    announce(other.registry, trees.registry, [ASH, BIRCH])
    assert other.told().states == {ASH: "rejected", BIRCH: "accepted"}
    trees.registry.change(lambda index: promote(index, ASH, even_rejected=True))
    announce(other.registry, trees.registry, [BIRCH])
    assert other.told().states == {ASH: "promoted", BIRCH: "accepted"}
    assert other.told().aliases == {"candidate": BIRCH, "champion": ASH, "previous": BIRCH}


def test_an_alias_that_names_nothing_any_more_is_taken_away(other: Other, trees: Trees) -> None:
    trees.add(ASH, candidate=ASH)
    announce(other.registry, trees.registry, [ASH])
    trees.registry.change(lambda index: Index(index.model_name, index.versions, {}))
    announce(other.registry, trees.registry, [ASH])
    assert other.told().aliases == {}
    announce(other.registry, trees.registry, [ASH])
    assert without_order(other.told()) == without_order(trees.told(ASH))


def test_a_version_that_was_rejected_and_has_another_bundle_by_now(other: Other, trees: Trees) -> None:
    trees.add(ASH, passed=False)
    announce(other.registry, trees.registry, [ASH])
    trees.add(ASH, content="c2", candidate=ASH)
    for _ in range(2):
        announce(other.registry, trees.registry, [ASH])
        assert other.told().bundles == [trees.bundle(ASH)]
        assert without_order(other.told()) == without_order(trees.told(ASH))


def test_a_champion_that_has_another_bundle_by_now(other: Other, trees: Trees) -> None:
    trees.add(ASH, champion=ASH)
    announce(other.registry, trees.registry, [ASH])
    trees.add(ASH, content="c2", champion=ASH)
    for _ in range(2):
        announce(other.registry, trees.registry, [ASH])
        assert without_order(other.told()) == without_order(trees.told(ASH))


def test_an_earlier_bundle_that_vertex_serves_is_left_there(
    vertex: tuple[VertexApi, VertexRegistry], trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    api, registry = vertex
    trees.add(ASH, champion=ASH)
    announce(registry, trees.registry, [ASH])
    api.deployed.add("1")
    trees.add(ASH, content="c2", champion=ASH)
    assert announce(registry, trees.registry, [ASH])[ASH].endswith("@2")
    assert "@1, of an earlier bundle: " in capsys.readouterr().out
    served, new = api.versions
    assert (list(served.version_aliases), set(new.version_aliases)) == ([], {"champion", "default"})
    api.deployed.clear()
    announce(registry, trees.registry, [ASH])
    assert [one.version_id for one in api.versions] == ["2"]


def test_one_that_answers_is_looked_at(other: Other) -> None:
    other.registry.look()


class Overtaken:
    """A registry that somebody else tells of a later index, at the worst moment."""

    def __init__(self, registry: Listener, meanwhile: Callable[[], object]) -> None:
        self._registry = registry
        self._meanwhile: list[Callable[[], object]] = [meanwhile]

    def bring_in_line(self, model: ModelNews) -> dict[str, str]:
        if self._meanwhile:
            self._meanwhile.pop()()
        return self._registry.bring_in_line(model)


def test_who_is_overtaken_leaves_what_the_index_says(other: Other, trees: Trees) -> None:
    trees.add(ASH, candidate=ASH, champion=ASH)
    trees.add(BIRCH)
    announce(other.registry, trees.registry, [ASH, BIRCH])

    def meanwhile() -> None:
        trees.registry.change(champion(BIRCH))
        announce(other.registry, trees.registry, [BIRCH])
        assert other.told().aliases["champion"] == BIRCH

    announce(Overtaken(other.registry, meanwhile), trees.registry, [ASH])
    assert other.told().aliases == {"candidate": ASH, "champion": BIRCH, "previous": ASH}


def test_an_index_that_never_rests(kubeflow: tuple[KubeflowApi, str], trees: Trees) -> None:
    trees.add(ASH)
    trees.add(BIRCH)

    class Restless:
        def bring_in_line(self, model: ModelNews) -> dict[str, str]:
            now = trees.registry.read_index().aliases.get("champion")
            trees.registry.change(champion(BIRCH if now == ASH else ASH))
            return {}

    with pytest.raises(TransientError, match="the index of trees changes while it is told"):
        announce(Restless(), trees.registry, [ASH])


def test_eight_at_once_promote_and_tell(other: Other, trees: Trees) -> None:
    versions = [ASH, BIRCH, CEDAR]
    for version in versions:
        trees.add(version)

    def promote_and_tell(number: int) -> None:
        version = random.Random(number).choice(versions)
        trees.registry.change(champion(version))
        announce(other.registry, trees.registry, [version])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(promote_and_tell, range(8)))
    # One more, for a version that two made at once is doubled until somebody looks again.
    announce(other.registry, trees.registry, versions)
    assert without_order(other.told()) == without_order(trees.told(*versions))


@pytest.mark.parametrize("other", ["kubeflow", "vertex"], indirect=True)
def test_one_that_dies_at_any_change_is_completed(other: Other, trees: Trees) -> None:
    assert other.api is not None
    trees.add(ASH, candidate=ASH, champion=ASH)
    trees.add(BIRCH, previous=BIRCH)
    announce(other.registry, trees.registry, [ASH])
    trees.registry.change(champion(BIRCH))
    trees.add(CEDAR, candidate=CEDAR)
    for after in range(100):
        other.api.changes, other.api.dies_after = 0, after
        try:
            announce(other.registry, trees.registry, [CEDAR])
        except TransientError as error:
            assert "going down" in str(error)  # noqa: PT017 - the last one is not raised
        else:
            break
        other.api.dies_after = None
        announce(other.registry, trees.registry, [CEDAR])
        assert without_order(other.told()) == without_order(trees.told(ASH, BIRCH, CEDAR)), after
        other.api.dies_after = None
        trees.registry.change(champion([ASH, BIRCH][after % 2]))
    assert after > 1
    other.api.dies_after = None
    announce(other.registry, trees.registry, [CEDAR])
    assert without_order(other.told()) == without_order(trees.told(ASH, BIRCH, CEDAR))


def test_a_kubeflow_registry_older_than_v1(kubeflow: tuple[KubeflowApi, str], trees: Trees) -> None:
    api, target = kubeflow
    trees.add(ASH, champion=ASH)
    api.releases = {"v1alpha3"}
    announce(other_registry(target), trees.registry, [ASH])
    assert told_kubeflow(api).aliases == {"champion": ASH}
    api.releases = set()
    with pytest.raises(UserError, match="answers none of v1, v1alpha3: check its address"):
        announce(other_registry(target), trees.registry, [ASH])


@pytest.mark.parametrize("merges", [False, True], ids=["replaces", "merges"])
def test_what_others_wrote_into_kubeflow_stays(kubeflow: tuple[KubeflowApi, str], trees: Trees, merges: bool) -> None:
    api, target = kubeflow
    api.merges = merges
    trees.add(ASH, champion=ASH, candidate=ASH)
    announce(other_registry(target), trees.registry, [ASH])
    for one in (*api.of_kind("registered_models"), *api.of_kind("model_versions")):
        one["customProperties"]["owner"] = {"metadataType": "MetadataStringValue", "string_value": "vision"}
    trees.registry.change(lambda index: Index(index.model_name, index.versions, {"champion": ASH}))
    announce(other_registry(target), trees.registry, [ASH])
    (model,), (version,) = api.of_kind("registered_models"), api.of_kind("model_versions")
    assert text(model) == {"champion": ASH, "candidate": "", "previous": "", "owner": "vision"}
    assert (text(version)["owner"], text(version)["aliases"]) == ("vision", "champion")


def test_what_vertex_is_told(vertex: tuple[VertexApi, VertexRegistry], trees: Trees) -> None:
    api, registry = vertex
    trees.add(ASH, champion=ASH)
    names = announce(registry, trees.registry, [ASH])
    assert names == {ASH: "projects/project/locations/europe-west4/models/m-trees@1"}
    (version,) = api.versions
    assert version.artifact_uri == f"{trees.bundle(ASH)}/saved_model/1"
    assert version.container_spec.image_uri == "registry.example/serving:1"
    assert set(version.version_aliases) == {"default", "champion"}
    assert dict(version.labels) == {"image_classification_version": ASH, "bundle": "c1", "state": "accepted"}
    assert api.authorizations == {"Bearer secret"}


def test_vertex_takes_only_what_it_can_serve(vertex: tuple[VertexApi, VertexRegistry], trees: Trees) -> None:
    api, registry = vertex
    trees.add(ASH, champion=ASH)
    trees.add(BIRCH, candidate=BIRCH)
    bundle = Path(trees.bundle(ASH))
    (bundle / "manifest.json").write_text((bundle / "manifest.json").read_text().replace("saved_model/1/", ""))
    announce(registry, trees.registry, [BIRCH])
    assert told_vertex(api).aliases == {"candidate": BIRCH}, "the champion cannot be served there"
    with pytest.raises(UserError, match="Vertex AI serves SavedModels, and .* holds none"):
        announce(registry, trees.registry, [ASH])


def test_identifiers_in_vertex() -> None:
    names = [
        "trees", "Trees", "tr.ees", "tr-ees", "tr_ees", "-trees", "1", "a" * 61, "a" * 62, "a" * 63, "A" * 63, "a.b",
        "a-b", "A-b", "n-a-b", "m-trees",
    ]  # fmt: skip
    identifiers = {name: model_identifier(name) for name in names}
    assert len(set(identifiers.values())) == len(names)
    for name, identifier in identifiers.items():
        assert len(identifier) <= 63
        assert set(identifier) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
        assert identifier[0].isalpha()
        assert model_identifier(name) == identifier
    assert identifiers["trees"] == "m-trees"
    assert identifiers["a.b"].startswith("n-a-b-")


def test_registering_tells_and_promoting_can_be_told(
    kubeflow: tuple[KubeflowApi, str], register: Register, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api, target = kubeflow
    rejected = register(gate=Gate(0.99), other_registries=[target])
    assert told_kubeflow(api).states == {rejected.version: "rejected"}
    registry = str(tmp_path / "registry")
    assert main(["promote", registry, "trees", rejected.version, "--even-rejected"]) == 0
    assert main(["announce", registry, "trees", "champion", target]) == 0
    assert f"trees {rejected.version}" in capsys.readouterr().out
    assert told_kubeflow(api).aliases == {"champion": rejected.version}
    assert told_kubeflow(api).states == {rejected.version: "promoted"}
    assert main(["announce", registry, "trees", "all", target]) == 0


def test_announcing_all_brings_up_to_date_what_a_stopped_run_left(
    kubeflow: tuple[KubeflowApi, str], trees: Trees, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    api, target = kubeflow
    trees.add(ASH, candidate=ASH, champion=ASH)
    announce(other_registry(target), trees.registry, [ASH])
    trees.add(BIRCH, passed=False)
    trees.add(CEDAR, candidate=CEDAR)
    trees.registry.change(champion(CEDAR))
    api.dies_after = api.changes + 1
    with pytest.raises(TransientError, match="going down"):
        announce(other_registry(target), trees.registry, [BIRCH, CEDAR])
    api.dies_after = None
    command = ["announce", str(tmp_path / "registry"), "trees", "all", target]
    assert main(command) == 0
    assert without_order(told_kubeflow(api)) == without_order(trees.told(ASH, BIRCH, CEDAR))
    assert told_kubeflow(api).aliases == {"candidate": CEDAR, "champion": CEDAR, "previous": ASH}
    assert len(capsys.readouterr().out.splitlines()) == 3, "a line for each version"
    changes = api.changes
    assert main(command) == 0
    assert api.changes == changes, "it is up to date"


@pytest.mark.parametrize("target", ["", "mlflow:", "mlflow:ftp://host", "vertex:project", "http://mlflow:5000"])
def test_targets_that_name_nothing(target: str) -> None:
    with pytest.raises(UserError, match="other_registries names|is to be found at"):
        other_registry(target)


@pytest.mark.parametrize(
    ("target", "registry_uri", "exports", "message"),
    [
        (f"vertex:{SERVING}", "gs://models", ["h5"], "Vertex AI serves SavedModels: add saved_model to exports"),
        (f"vertex:{SERVING}", "/models", ["saved_model"], "takes no version that lies in the local folder /models"),
        ("mlflow:http://mlflow:5000", "models", [], "takes no version that lies in the local folder models"),
    ],
)
def test_targets_that_cannot_take_it(target: str, registry_uri: str, exports: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_other_registries([target], registry_uri, exports)


def test_targets_that_can(trees: Trees) -> None:
    check_other_registries(["kubeflow:http://registry:8080"], "/models", [])
    check_other_registries(["mlflow:http://mlflow:5000"], "gs://models", ["h5"])
    check_other_registries([f"vertex:{SERVING}"], "gs://models", ["saved_model", "h5"])


def test_nobody_there(trees: Trees) -> None:
    trees.add(ASH)
    with pytest.raises(TransientError, match=r"MLflow at .* does not answer"):
        announce(other_registry("mlflow:http://127.0.0.1:9"), trees.registry, [ASH])


def test_mlflow_takes_no_folder(mlflow: str, tmp_path: Path) -> None:
    trees = Trees(str(tmp_path / "registry"))
    trees.add(ASH)
    with pytest.raises(UserError, match="it takes a gs:// registry_uri, and a local one not at all"):
        announce(other_registry(f"mlflow:{mlflow}"), trees.registry, [ASH])
