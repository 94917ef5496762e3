import pytest

from components.failures import UserError
from components.launch.accelerators import ACCELERATORS, find_accelerator


@pytest.mark.parametrize(
    ("name", "count"), [(name, count) for name, accelerator in ACCELERATORS.items() for count in accelerator.machines]
)
def test_every_offered_combination_is_accepted(name: str, count: int) -> None:
    assert find_accelerator(name, count).machines[count].vcpus > 0


def test_unknown_gpu_is_refused_with_the_valid_names() -> None:
    with pytest.raises(UserError, match="unknown GPU 'nvidia-l5'.*nvidia-l4"):
        find_accelerator("nvidia-l5", 1)


@pytest.mark.parametrize("name", ["nvidia-b200", "nvidia-gb200", "nvidia-rtx-pro-6000", "NVIDIA-B200"])
def test_blackwell_is_refused_because_tensorflow_cannot_drive_it(name: str) -> None:
    with pytest.raises(UserError, match="Blackwell.*nvidia-l4"):
        find_accelerator(name, 1)


@pytest.mark.parametrize(("name", "count"), [("nvidia-l4", 3), ("nvidia-l4", 0), ("nvidia-h200-141gb", 1)])
def test_count_no_machine_offers_is_refused_with_the_valid_counts(name: str, count: int) -> None:
    with pytest.raises(UserError, match=rf"no machine type offers {count} x {name}; choose a count of: .*8 \("):
        find_accelerator(name, count)
