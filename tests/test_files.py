"""Names in the order in which people count."""

import random

from vonenet.files import natural_key


def test_names_are_sorted_as_people_count() -> None:
    names = ["", "01", "1", "2", "10", "a", "stim1", "stim2", "stim10", "stim10b", "x" + "9" * 5000]
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == names
