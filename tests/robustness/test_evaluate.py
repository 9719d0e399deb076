"""evaluate: right accuracies, honest columns, repeatable rows, and nothing measured twice."""

import errno
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.robustness.toys import CoinModel, LinearModel, dark_and_bright
from vonenet.data import ImageArrays, PixelModel, load_embedded
from vonenet.errors import InputError
from vonenet.results import append_jsonl, model_hash, read_jsonl, wilson_interval
from vonenet.robustness import (
    Attack,
    Clean,
    Corruption,
    StoredCorruption,
    averaged_gradient,
    evaluate,
    evaluate_stored,
    frozen_weights,
    pgd,
)

CONDITIONS = [
    Clean(),
    Corruption("gaussian_noise", 5),
    Attack("linf", 0.1, steps=3, gradient_samples=4),
]
TEST = {"experiment": "test", "model_name": "toy", "progress": False}


def run(model, data, conditions, **options):
    return evaluate(model, data, conditions, **(TEST | options))


def measured(row):
    """What must repeat: everything but the time it took."""
    return (row.condition, row.value, row.ci_low, row.ci_high, row.n, row.flags, row.model_hash)


def test_clean_accuracy_and_its_interval():
    """A model that always says "bright" is right on the bright half."""
    data = dark_and_bright(60)
    always_bright = PixelModel(CoinModel(noise=0.0), -10.0, 1.0, classes=["dark", "bright"])
    (row,) = run(always_bright, data, [Clean()], batch_size=7)
    assert row.value == 0.5
    assert (row.ci_low, row.ci_high) == wilson_interval(30, 60)
    assert (row.n, row.data_size, row.data, row.metric) == (60, 60, "toy 32px", "accuracy")
    assert row.condition == {"decision_samples": 1}
    assert row.flags == {"stochastic": False, "batch_size": 7, "device": "cpu"}
    assert row.model_hash == model_hash(always_bright)
    assert row.data_hash == data.content_hash()
    assert row.classes == "2 classes of 2 outputs, by name"
    assert row.preprocessing == "mean -10, std 1, 32 px"
    assert row.seconds > 0


CLASSES = [str(number) for number in range(12)]
SORTED_AS_TEXT = sorted(CLASSES)


@pytest.mark.parametrize(
    ("outputs", "of_data", "how"),
    [
        (CLASSES, SORTED_AS_TEXT, "12 classes of 12 outputs, by name"),
        (None, SORTED_AS_TEXT, "12 classes of 12 outputs, by number"),
        (["bus", "cat", "dog"], ["cat", "dog"], "2 classes of 3 outputs, by name"),
        (["dog", "cat"], ["cat", "dog"], "2 classes of 2 outputs, by name"),
    ],
)
def test_a_perfect_model_is_right_whatever_the_order_of_classes(outputs, of_data, how):
    """Its logits are larger the nearer the image's grey is to that of the class."""
    names = outputs or CLASSES
    grey = torch.tensor([names.index(name) / 12 for name in of_data]).repeat_interleave(2)
    labels = torch.arange(len(of_data)).repeat_interleave(2)
    images = grey[:, None, None, None].expand(-1, 1, 28, 28).contiguous()
    data = ImageArrays(images, labels, of_data, "photos")
    levels = torch.arange(len(names)) / 12
    nearest = Fixed(lambda pixels: -(pixels.mean(dim=(1, 2, 3))[:, None] - levels).abs())
    for limit in (None, len(of_data)):
        (row,) = run(PixelModel(nearest, 0.0, 1.0, classes=outputs), data, [Clean()], limit=limit)
        assert (row.value, row.classes, row.data) == (1.0, how, "photos")
    other = ImageArrays(images[:2], labels[:2], ("cow", "dog"), "photos")
    with pytest.raises(InputError, match="the first is 'cow'"):
        run(PixelModel(nearest, 0.0, 1.0, classes=names), other, [Clean()])


def test_limit_is_class_balanced():
    data = load_embedded("test", in_chans=1)
    says_zero = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)).requires_grad_(False)
    says_zero[1].weight.zero_()
    says_zero[1].bias.copy_(-torch.arange(10))
    (row,) = run(says_zero, data, [Clean()], limit=50)
    assert (row.n, row.data_size, row.value) == (50, 2000, 0.1)
    (row,) = run(says_zero, data, [Clean()], limit=10_000)
    assert row.n == 2000


def test_attack_row_counts_what_pgd_leaves():
    data = dark_and_bright(40, size=4)
    model = LinearModel((1, 4, 4))
    (row,) = run(model, data, [Attack("l2", 0.5, steps=5, gradient_samples=8)], batch_size=16)
    adversarial = pgd(
        model, data.images, data.labels, norm="l2", epsilon=0.5, steps=5, gradient_samples=1
    )
    left = (model(adversarial).argmax(dim=1) == data.labels).float().mean()
    clean = (model(data.images).argmax(dim=1) == data.labels).float().mean()
    assert row.value == pytest.approx(float(left))
    assert left < clean


def test_columns_say_what_was_done():
    data = dark_and_bright(8)
    stochastic, deterministic = CoinModel(noise=1.0), CoinModel(noise=0.0)
    _, corruption, attack = run(stochastic, data, CONDITIONS, decision_samples=3)
    where = {"severity": 5, "constants_px": 32, "decision_samples": 3}
    what = {"corruption": "gaussian_noise", "category": "noise"}
    assert corruption.condition == what | where
    ball = {"attack": "pgd", "norm": "linf", "epsilon": 0.1, "step_rule": "sign"}
    steps = {"steps": 3, "step_size": 2.5 * 0.1 / 3, "gradient_samples": 4, "decision_samples": 3}
    assert attack.condition == ball | steps
    assert attack.flags["stochastic"]
    *_, attack = run(deterministic, data, CONDITIONS, decision_samples=3)
    assert attack.condition["gradient_samples"] == attack.condition["decision_samples"] == 1
    # What it returns, twice for noise; a decision per condition; every step's gradient.
    assert stochastic.calls == 2 + 3 * 3 + 3 * 4
    assert deterministic.calls == 2 + 3 + 3


def test_decisions_of_different_images_have_their_own_noise():
    """With nothing but noise to go by, the interval covers one half and the flips do not agree."""
    data = dark_and_bright(400, size=28)
    (row,) = run(CoinModel(noise=1e6), data, [Clean()], batch_size=400)
    assert row.ci_low < 0.5 < row.ci_high
    assert 0.3 < row.value < 0.7


def test_averaged_decisions_beat_single_ones():
    data = dark_and_bright(100, size=28)
    (single,) = run(CoinModel(noise=3.0), data, [Clean()])
    (averaged,) = run(CoinModel(noise=3.0), data, [Clean()], decision_samples=100)
    assert single.ci_high < averaged.ci_low


def test_rows_repeat_in_any_company_and_leave_no_trace():
    data = dark_and_bright(50, size=28)
    model = CoinModel(noise=2.0)
    state = torch.get_rng_state()
    rows = run(model, data, CONDITIONS, seed=3)
    again = run(model, data, CONDITIONS[::-1], seed=3)[::-1]
    alone = [run(model, data, [condition], seed=3)[0] for condition in CONDITIONS]
    other = run(model, data, CONDITIONS, seed=4)
    assert list(map(measured, rows)) == list(map(measured, again))
    assert list(map(measured, rows)) == list(map(measured, alone))
    assert [row.value for row in rows] != [row.value for row in other]
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_and_batch_statistics_are_off():
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(), LinearModel((1, 28, 28))).train()
    (row,) = run(model, dark_and_bright(10, size=28), [Clean()])
    assert not row.flags["stochastic"]
    assert model[0].num_batches_tracked == 0


@pytest.fixture
def network():
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    return nn.Sequential(*layers)


def test_frozen_weights_give_the_same_and_get_no_gradient(network):
    model, pixels, labels = network.eval(), torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3])
    logits, gradient = model(pixels), averaged_gradient(model, pixels, labels, 1)
    with frozen_weights(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(model(pixels), logits)
        torch.testing.assert_close(averaged_gradient(model, pixels, labels, 1), gradient)


def test_afterwards_the_model_is_as_it_was(network):
    network[1].eval()
    network[4].bias.requires_grad_(False)
    weight = network[0].weight
    try:
        with frozen_weights(network):
            assert not network.training
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    assert network.training
    assert not network[1].training
    assert [n for n, p in network.named_parameters() if not p.requires_grad] == ["4.bias"]
    assert network[0].weight is weight
    assert weight.is_contiguous()
    assert not weight.is_contiguous(memory_format=torch.channels_last)


class KilledError(Exception):
    pass


def killed_at(n, noise=2.0):
    """Return a model that dies at its n-th forward pass, and has the hash of the one that lives."""
    model = CoinModel(noise=noise)

    def die(module, inputs):
        if module.calls == n:
            raise KilledError

    model.register_forward_pre_hook(die)
    return model


@pytest.mark.parametrize("at", [1, 3, 4, 6, 25])
def test_stopped_run_ends_with_the_rows_of_one_left_alone(at, tmp_path):
    data = dark_and_bright(20, size=28)
    whole = run(CoinModel(noise=2.0), data, CONDITIONS, batch_size=10, out_path=tmp_path / "a")
    with pytest.raises(KilledError):
        run(killed_at(at), data, CONDITIONS, batch_size=10, out_path=tmp_path / "b")
    rows = run(CoinModel(noise=2.0), data, CONDITIONS, batch_size=10, out_path=tmp_path / "b")
    assert list(map(measured, rows)) == list(map(measured, whole))
    assert read_jsonl(tmp_path / "b") == rows


def test_nothing_is_measured_twice_and_another_measurement_is_made_anew(tmp_path):
    data, out_path = dark_and_bright(20, size=28), tmp_path / "results.jsonl"
    rows = run(CoinModel(noise=2.0), data, CONDITIONS[:2], out_path=out_path)
    model = CoinModel(noise=2.0)
    assert run(model, data, CONDITIONS[:2], out_path=out_path) == rows
    assert model.calls == 2  # the checks
    assert run(model, data, CONDITIONS, out_path=out_path)[:2] == rows
    assert len(read_jsonl(out_path)) == 3
    others = {"seed": 1, "limit": 10, "decision_samples": 2, "experiment": "b", "model_name": "b"}
    for number, (name, value) in enumerate(others.items()):
        run(model, data, [Clean()], out_path=out_path, **{name: value})
        assert len(read_jsonl(out_path)) == 4 + number


def changed(**changes):
    """The model, the data and the settings of a measurement, with one thing another."""
    data = dark_and_bright(8, size=28)
    about = {"images": data.images, "labels": data.labels, "classes": data.classes}
    about |= {"mean": 0.5, "std": 0.5, "outputs": ("dark", "bright"), "noise": 0.0, "name": "toy"}
    about |= {"settings": {}} | changes
    images = ImageArrays(*(about[name] for name in ("images", "labels", "classes", "name")))
    inner = CoinModel(noise=about["noise"])
    model = PixelModel(inner, about["mean"], about["std"], classes=about["outputs"])
    return model, images, about["settings"]


DATA = dark_and_bright(8, size=28)
CHANGES = [
    {"images": DATA.images.flip(0)},  # the same images in batches of another order
    {"labels": 1 - DATA.labels},
    {"classes": ("bright", "dark")},
    {"outputs": ("bright", "dark")},
    {"outputs": None},
    {"mean": 0.25},
    {"std": 0.25},
    {"noise": 1e-9},
    {"name": "toys"},
    {"settings": {"batch_size": 3}},
    {"settings": {"seed": 1}},
    {"settings": {"limit": 4}},
]


@pytest.mark.parametrize("changes", CHANGES, ids=lambda each: str(*each))
def test_a_row_is_taken_only_if_all_that_it_depends_on_is_the_same(tmp_path, changes):
    def rows(**changes):
        model, data, settings = changed(**changes)
        run(model, data, [Clean()], out_path=tmp_path / "rows", **settings)
        return len(read_jsonl(tmp_path / "rows"))

    assert [rows(), rows(), rows(**changes), rows(**changes), rows()] == [1, 1, 2, 2, 2]


def test_rows_without_a_hash_of_the_data_are_read_and_measured_again(tmp_path):
    model, data, _ = changed()
    (row,) = run(model, data, [Clean()])
    append_jsonl(tmp_path / "rows", [replace(row, data_hash="", classes="", preprocessing="")])
    run(model, data, [Clean()], out_path=tmp_path / "rows")
    assert [each.data_hash for each in read_jsonl(tmp_path / "rows")] == ["", row.data_hash]


def unfinished(folder):
    return sorted(folder.glob("*.unfinished-*"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line.replace(b"5]", b"4]"),  # one right decision fewer
        lambda line: line[:20],
        lambda line: b"[1]",
        lambda line: b'{"entry": null, "checksum": "no"}',
        lambda line: b"[" * 100_000,
        lambda line: b"\xff\x00",
    ],
)
def test_damaged_batches_are_measured_again(tmp_path, damage):
    data, settings = dark_and_bright(20, size=28), {"batch_size": 5}
    whole = run(CoinModel(noise=0.1), data, CONDITIONS, **settings)
    with pytest.raises(KilledError):
        run(killed_at(4, 0.1), data, CONDITIONS, out_path=tmp_path / "rows", **settings)
    (kept,) = unfinished(tmp_path)
    lines = kept.read_bytes().splitlines()
    assert b"5]" in lines[0]
    kept.write_bytes(b"\n".join([damage(lines[0]), *lines[1:]]) + b"\n")
    model = CoinModel(noise=0.1)
    rows = run(model, data, CONDITIONS, out_path=tmp_path / "rows", **settings)
    assert list(map(measured, rows)) == list(map(measured, whole))
    assert not unfinished(tmp_path)


def test_what_another_run_has_finished_stays(tmp_path):
    data, path = dark_and_bright(20, size=28), tmp_path / "rows"
    with pytest.raises(KilledError):
        run(killed_at(4), data, CONDITIONS, batch_size=5, out_path=path)
    (kept,) = unfinished(tmp_path)
    run(CoinModel(noise=0.0), data, CONDITIONS, batch_size=5, out_path=path)
    assert unfinished(tmp_path) == [kept]
    model = CoinModel(noise=2.0)
    run(model, data, CONDITIONS[:1], batch_size=5, out_path=path)
    assert model.calls == 2 + 4 - 2  # the check, and what was not yet done
    assert not unfinished(tmp_path)


def test_no_row_of_several_writers_is_lost(tmp_path):
    """Each measures what the others do not, in a thread of its own, into one file."""
    data, path = dark_and_bright(4, size=28), tmp_path / "rows"

    def write(number):
        for seed in range(5):
            options = {"model_name": str(number), "seed": seed}
            run(CoinModel(noise=0.0), data, [Clean()], out_path=path, **options)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    rows = {(row.model, row.seed) for row in read_jsonl(path)}
    assert len(rows) == 15
    assert not unfinished(tmp_path)


class Fixed(nn.Module):
    """Returns what it is told, whatever the images."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, pixels):
        return self.answer(pixels)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda x: (x, x), "returns a tuple; needed: one tensor of logits"),
        (lambda x: x, r"shape \(4, 1, 28, 28\) for 4 images; needed: \(4, classes\)"),
        (lambda x: x.new_full((len(x), 2), torch.nan), "not finite on clean images"),
        (lambda x: x.new_full((len(x), 2), 0.5), "returns probabilities .* needed: logits"),
        (lambda x: x.new_zeros(len(x), 1), "has 1 outputs, .* the data have 2 classes"),
        (lambda x: x.new_zeros(len(x), 3), "has 3 outputs, .* the data have 2 classes"),
    ],
)
def test_models_that_cannot_be_measured_are_named(answer, message):
    with pytest.raises(InputError, match=message):
        run(Fixed(answer), dark_and_bright(4, size=28), [Clean()])


def test_logits_that_are_not_finite_stop_the_run_and_lose_no_row(tmp_path):
    def answer(pixels):
        logits = pixels.new_zeros(len(pixels), 2)
        return logits * torch.nan if float(pixels[0].std()) > 0.15 else logits

    conditions = [Clean(), Corruption("gaussian_noise", 5)]
    with pytest.raises(InputError, match="not finite under 'gaussian_noise 5'"):
        run(Fixed(answer), dark_and_bright(4, size=28), conditions, out_path=tmp_path / "rows")
    assert len(read_jsonl(tmp_path / "rows")) == 1


def test_an_image_with_nan_stops_the_run():
    data = dark_and_bright(40, size=28)
    data.images[33, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="pixels run from nan"):
        run(CoinModel(noise=0.0), data, [Clean()], batch_size=10)


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="rows.* cannot be written: No space left on device"):
        run(CoinModel(0.0), dark_and_bright(4, size=28), [Clean()], out_path=tmp_path / "rows")


@pytest.mark.parametrize("name", ["batch_size", "decision_samples", "limit"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(InputError, match="0"):
        run(CoinModel(noise=0.0), dark_and_bright(4, size=28), [Clean()], **{name: 0})


def test_a_bar_names_the_condition_on_terminals_alone(capsys, monkeypatch):
    def shown(**options):
        run(CoinModel(noise=0.0), dark_and_bright(4, size=28), CONDITIONS, **options)
        return capsys.readouterr()

    assert shown(progress=True) == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert "toy: linf 25.5/255: 100%" in shown(progress=True).err
    assert shown() == ("", "")


@pytest.fixture
def root(tmp_path):
    """Ten images a severity; the first `severity` of the five bright ones have turned dark."""
    labels = np.tile(np.repeat(np.array([1, 0], dtype=np.uint8), 5), 5)
    levels = 200 * labels.reshape(5, 10)
    for severity in range(5):
        levels[severity, : severity + 1] = 10
    images = np.broadcast_to(levels.reshape(50, 1, 1, 1).astype(np.uint8), (50, 32, 32, 3))
    for name in ("fog", "spatter"):
        np.save(tmp_path / f"{name}.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def test_rows_are_those_of_the_stored_images(root):
    names = ["fog", "spatter"]
    rows = evaluate_stored(CoinModel(noise=0.0), root, names=names, severities=[1, 4], **TEST)
    assert [row.value for row in rows] == pytest.approx([0.9, 0.6, 0.9, 0.6])
    assert [row.condition["category"] for row in rows] == ["weather", "weather", "extra", "extra"]
    computed = Corruption("fog", 4).columns((32, 32))
    assert rows[1].condition == computed | {"source": "stored", "decision_samples": 1}
    assert rows[1].data == f"{root}/fog/4 32px"
    assert rows[1].n == 10


def test_a_missing_corruption_is_named_before_any_is_measured(root, tmp_path):
    out_path = tmp_path / "rows.jsonl"
    settings = {"out_path": out_path, **TEST}
    with pytest.raises(InputError, match=r"gaussian_noise/1/ nor gaussian_noise\.npy"):
        evaluate_stored(CoinModel(noise=0.0), root, **settings)
    with pytest.raises(InputError, match="holds neither snow"):
        evaluate_stored(CoinModel(noise=0.0), root, names=["fog", "snow"], **settings)
    assert not out_path.exists()
    with pytest.raises(InputError, match="at least one"):
        evaluate_stored(CoinModel(noise=0.0), root, names=[], **settings)
    with pytest.raises(InputError, match="'sepia' is unknown"):
        StoredCorruption("sepia", 1)
