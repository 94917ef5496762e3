"""What the embedding audit came to, in numbers and in a sentence: for metrics, for summary.json and for the page."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from components.audit_embeddings.embedding_settings import EmbeddingSettings
from components.report.shown_text import counted

CLASS_PAIRS = 20
CLASSES_LISTED = 1000


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What it came to.

    Attributes:
        images: In the archive.
        looked_at: A row per image with features: its label, and the label that predictions suggest, missing where its
            class is too small to be judged.
        undecodable: Why images have no features though the audit could read them, by path.
        counts: Findings by check.
        device: What the features were computed on.
        weights_sha256: Of the weights file, hex; empty for random weights.
    """

    images: int
    looked_at: pd.DataFrame
    undecodable: Mapping[str, str]
    counts: Mapping[str, int]
    device: str
    weights_sha256: str

    @property
    def judged(self) -> pd.DataFrame:
        """Rows of ``looked_at`` whose label is judged."""
        return self.looked_at[self.looked_at["suggested"].notna()]

    @property
    def agreement(self) -> float:
        """Share of judged labels that are what predictions suggest, [0, 1]; 0 when none is judged."""
        return float((self.judged["label"] == self.judged["suggested"]).mean()) if len(self.judged) else 0.0

    @property
    def sentence(self) -> str:
        """What was found."""
        found = [
            counted(self.counts["label_error"], "label is probably wrong", "labels are probably wrong"),
            counted(
                self.counts["semantic_duplicate"], "image shows the same as another", "images show the same as another"
            ),
            counted(self.counts["embedding_outlier"], "image is unlike its class", "images are unlike their class"),
        ]
        return f"of {counted(len(self.looked_at), 'image')}, {found[0]}, {found[1]}, and {found[2]}"

    def metrics(self) -> dict[str, int | float]:
        """Return finite numbers by name."""
        return {
            "images": self.images,
            "embedded_images": len(self.looked_at),
            "undecodable_images": len(self.undecodable),
            "judged_labels": len(self.judged),
            "label_agreement": round(self.agreement, 4),
            **{f"check_{check}": count for check, count in self.counts.items()},
        }

    def classes(self) -> list[dict[str, Any]]:
        """Return for each class how many images were looked at and judged, and how many predictions agree."""
        table = self.looked_at.assign(
            judged=self.looked_at["suggested"].notna(), agrees=self.looked_at["label"] == self.looked_at["suggested"]
        )
        sums = table.assign(images=1).groupby("label")[["images", "judged", "agrees"]].sum().reset_index()
        return _records(sums)

    def class_pairs(self) -> list[dict[str, Any]]:
        """Return the classes that predictions take for one another most often."""
        differing = self.judged[self.judged["label"] != self.judged["suggested"]]
        pairs = differing.groupby(["label", "suggested"]).size().reset_index(name="images")
        return _records(pairs.sort_values("images", ascending=False, kind="stable").head(CLASS_PAIRS))

    def as_facts(self, settings: EmbeddingSettings) -> dict[str, Any]:
        """Return everything as strict JSON."""
        return {
            **self.metrics(),
            "classes": self.classes()[:CLASSES_LISTED],
            "class_pairs": self.class_pairs(),
            "undecodable": dict(list(self.undecodable.items())[:CLASSES_LISTED]),
            "device": self.device,
            "weights_sha256": self.weights_sha256,
            "settings": dataclasses.asdict(settings),
        }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
