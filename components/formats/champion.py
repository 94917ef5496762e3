"""Where a registry's champion lies, and what it said of the images that another model is tested on.

What steps before registration may know of the registry:

<registry>/<model name>/
  index.json     written by register; of it are read ``aliases.champion``, and of that version ``path`` and
                 ``dataset_digest``
  <path>/        the bundle, see ``components.formats.model_bundle``
"""

import dataclasses
import io
import json

import pandas as pd

from components import storage
from components.failures import UserError
from components.formats.evaluation import PREDICTIONS_FILE, read_answers
from components.formats.model_bundle import DamagedBundleError, read_bundle_file, read_manifest

INDEX_FILE = "index.json"
CHAMPION = "champion"
"""The alias of the version to serve."""

LEAST_SHARED_IMAGES = 30
"""Two models are compared on so many images that both were tested on, or on all where both were tested on the same.

The fewest on which a loss of a fifth of them shows: six images that only one model gets right, the other none, are the
fewest that the exact McNemar test calls no chance (p = 2 / 2**6 = 0.031).
"""


@dataclasses.dataclass(frozen=True)
class Champion:
    """The version that a registry would have served.

    Attributes:
        version: Identity of the model.
        uri: Of its bundle.
        dataset_digest: Of the splits it was trained and tested on.
    """

    version: str
    uri: str
    dataset_digest: str


def find_champion(registry_uri: str, model_name: str) -> Champion | None:
    """Return the champion of a model, None when it has none.

    Args:
        registry_uri: ``gs://bucket/prefix`` or a local folder; it need not exist yet.
        model_name: Name in the registry.

    Raises:
        UserError: When the registry may not be read, or its index is damaged.
        TransientError: When the registry does not answer.
    """
    place = storage.join(registry_uri, model_name)
    found = storage.read_versioned(storage.join(place, INDEX_FILE))
    if found is None:
        return None
    try:
        index = json.loads(found[0])
        version = index["aliases"].get(CHAMPION)
        record = next((record for record in index["versions"] if record["version"] == version), None)
        if version is None:
            return None
        if record is None:
            raise ValueError(f"the champion {version} is not listed")
        return Champion(version, storage.join(place, record["path"]), record["dataset_digest"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{place}/{INDEX_FILE} is damaged: restore it from an earlier copy, or move it away") from error


def shared_answers(
    predictions: pd.DataFrame, dataset_digest: str, champion: Champion
) -> tuple[pd.DataFrame | None, str]:
    """Return what a model and the champion say of the test images that they share; or None and why not.

    Neither was trained on them, so that the comparison is a fair one whatever else each was trained on. Images are the
    same when path, class and bytes are.

    Args:
        predictions: ``components.formats.evaluation.PREDICTION_COLUMNS`` of the model.
        dataset_digest: Of the splits whose test split was predicted.
        champion: From ``find_champion``.

    Returns:
        ``true_class``, ``predicted_class`` and ``champion_class`` of each shared image, in the order of the model's
        predictions.

    Raises:
        UserError: When the champion's bundle may not be read.
        TransientError: When the registry does not answer.
    """
    try:
        theirs = _predictions_of(champion)
    except DamagedBundleError as error:
        # Whatever is registered must be able to take its place, or be registered again in it.
        return None, f"the predictions of the champion {champion.version} cannot be read: {error}"
    if theirs is None:
        return None, f"the bundle of the champion {champion.version} does not hold its predictions"
    if "md5" not in theirs and champion.dataset_digest != dataset_digest:
        # Bundles of earlier versions do not say which bytes were tested, but which splits.
        return None, f"the champion {champion.version} was tested on other splits, and does not tell on which bytes"
    same = [name for name in ("path", "true_class", "md5") if name in theirs]
    answers = theirs.rename(columns={"predicted_class": "champion_class"})[[*same, "champion_class"]]
    shared = predictions.merge(answers.drop_duplicates("path"), on=same)
    least = least_shared_images(len(predictions), len(theirs))
    if len(shared) < least:
        return None, (
            f"{len(shared):,} of the {len(predictions):,} test images are among the {len(theirs):,} that the champion "
            f"{champion.version} was tested on, and at least {least} must be"
        )
    return shared[["true_class", "predicted_class", "champion_class"]], ""


def least_shared_images(tested: int, champion_tested: int) -> int:
    """Return on how many shared images two models are compared at least.

    Args:
        tested: How many images the model was tested on.
        champion_tested: How many the champion was tested on.
    """
    return min(LEAST_SHARED_IMAGES, max(tested, champion_tested))


def _predictions_of(champion: Champion) -> pd.DataFrame | None:
    """Return ``PREDICTION_COLUMNS``, without ``md5`` where an earlier version wrote them; None when there are none."""
    manifest = read_manifest(champion.uri)
    if manifest is None:
        raise DamagedBundleError(f"{champion.uri} is damaged: it has no manifest; register the model again")
    if all(file.path != PREDICTIONS_FILE for file in manifest.files):
        return None
    return read_answers(io.BytesIO(read_bundle_file(champion.uri, manifest, PREDICTIONS_FILE)))
