"""Where a registry's champion lies: what steps before registration may know of the registry.

<registry>/<model name>/
  index.json     written by register; of it are read ``aliases.champion``, and of that version ``path`` and
                 ``dataset_digest``
  <path>/        the bundle, see ``components.formats.model_bundle``
"""

import dataclasses
import hashlib
import io
import json

import pandas as pd
import pyarrow.parquet as pq

from components import storage
from components.failures import UserError
from components.formats.evaluation import PREDICTION_COLUMNS, PREDICTIONS_FILE
from components.formats.model_bundle import read_manifest

INDEX_FILE = "index.json"
CHAMPION = "champion"
"""The alias of the version to serve."""


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
        if record is None:
            return None
        return Champion(version, storage.join(place, record["path"]), record["dataset_digest"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{place}/{INDEX_FILE} is damaged: restore it from an earlier copy, or move it away") from error


def champion_predictions(champion: Champion) -> pd.DataFrame | None:
    """Return the champion's answers to the test images of its dataset, None when its bundle does not hold them.

    Returns:
        ``components.formats.evaluation.PREDICTION_COLUMNS``, without ``md5`` where an earlier version wrote them.

    Raises:
        UserError: When the bundle is damaged or may not be read.
        TransientError: When the registry does not answer.
    """
    manifest = read_manifest(champion.uri)
    file = next((file for file in manifest.files if file.path == PREDICTIONS_FILE), None) if manifest else None
    if file is None:
        return None
    data = storage.read_bytes(storage.join(champion.uri, PREDICTIONS_FILE))
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise UserError(f"{champion.uri} is damaged: {PREDICTIONS_FILE} differs from its SHA-256; register it again")
    # Not the probabilities: of many images and classes they are a thousand times as much.
    known = pq.read_schema(io.BytesIO(data)).names
    return pd.read_parquet(io.BytesIO(data), columns=[name for name in PREDICTION_COLUMNS if name in known])
