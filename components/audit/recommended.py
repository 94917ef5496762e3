"""The thresholds of the command line; the pipeline's defaults are the same, which a test holds."""

from components.audit.checks import Thresholds

RECOMMENDED = Thresholds(
    dark_brightness=40.0,
    bright_brightness=222.0,
    low_contrast=5.0,
    size_outlier_iqr=2.0,
    aspect_outlier=3.0,
    tiny_side_px=32,
    blur_ratio=0.55,
    low_entropy_bits=3.0,
    near_duplicate_distance=8,
    near_duplicate_correlation=0.85,
    near_duplicate_difference=0.7,
    near_empty_class_images=10,
    class_imbalance_ratio=10.0,
    grayscale_difference=0.6,
    naming_pattern_share=0.9,
)
LABELS_FILE = "labels.csv"
SAMPLE_IMAGES = 24
SEED = 20260
