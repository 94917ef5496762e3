"""Which test images to look at: confident mistakes, right answers by a hair, a random sample; and which classes mix."""

import dataclasses

import numpy as np
import numpy.typing as npt
import pandas as pd

MOST_MISTAKES_SHOWN = 36
MOST_HESITANT_SHOWN = 12
MOST_SAMPLED_SHOWN = 12
MOST_CONFUSIONS_LISTED = 12


@dataclasses.dataclass(frozen=True)
class Examples:
    """Test images to show, as positions in the table of predictions.

    Attributes:
        mistakes: The most confident first.
        hesitant: Right answers, the least probable first.
        sampled: Random right answers, in the order of the table; shown to see what the model looks at.
    """

    mistakes: list[int]
    hesitant: list[int]
    sampled: list[int]

    @property
    def positions(self) -> set[int]:
        """All of them."""
        return {*self.mistakes, *self.hesitant, *self.sampled}

    @property
    def explained(self) -> list[int]:
        """Those of which the page shows what the answer rests on."""
        return sorted({*self.mistakes, *self.sampled})


def choose_examples(predictions: pd.DataFrame, seed: int) -> Examples:
    """Choose the images to show.

    Args:
        predictions: ``PREDICTION_COLUMNS``, one row per test image.
        seed: Of the random sample.
    """
    is_right = (predictions["true_class"] == predictions["predicted_class"]).to_numpy(bool)
    table = predictions.assign(position=np.arange(len(predictions)))
    mistakes = table[~is_right].sort_values(["probability", "path"], ascending=[False, True])
    hesitant = table[is_right].sort_values(["probability", "path"])
    right = np.flatnonzero(is_right)
    sampled = np.random.default_rng(seed).choice(right, min(MOST_SAMPLED_SHOWN, len(right)), replace=False)
    return Examples(
        mistakes=mistakes["position"].tolist()[:MOST_MISTAKES_SHOWN],
        hesitant=hesitant["position"].tolist()[:MOST_HESITANT_SHOWN],
        sampled=np.sort(sampled).tolist(),
    )


def common_confusions(confusions: npt.NDArray[np.int64], class_names: list[str]) -> list[tuple[str, str, int, int]]:
    """Return the most frequent mistakes as true class, predicted class, images, images of the true class."""
    mistakes = confusions * (1 - np.eye(len(class_names), dtype=np.int64))
    rows, columns = np.nonzero(mistakes)
    pairs = sorted(zip(rows.tolist(), columns.tolist(), strict=True), key=lambda pair: (-int(mistakes[pair]), pair))[
        :MOST_CONFUSIONS_LISTED
    ]
    return [
        (class_names[row], class_names[column], int(mistakes[row, column]), int(confusions[row].sum()))
        for row, column in pairs
    ]
