"""The audit: silent on sound models, loud on every planted trap."""

import sys
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from tests.robustness.toys import dark_and_bright
from vonenet.data import ImageArrays, PixelModel
from vonenet.results import AuditRow, read_jsonl
from vonenet.robustness import audit
from vonenet.robustness.audit import _AuditedModel, holm, largest_loss, sign_test
from vonenet.robustness.journal import Journal

SIZE = 6


def three_classes(count=60):
    """Dark, grey and bright images with some texture, of three classes."""
    labels = torch.arange(count) % 3
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(count, 1, SIZE, SIZE, generator=generator) - 0.5
    images = 0.3 + 0.2 * labels[:, None, None, None] + 0.3 * texture
    return ImageArrays(images, labels, ("dark", "grey", "bright"), "toy")


class Brightness(nn.Module):
    """Decides right on clean images, by a smooth function of their mean."""

    def __init__(self, scale=60.0):
        super().__init__()
        self.scale = scale

    def seen(self, pixels):
        """What reaches the decision."""
        return pixels

    def forward(self, pixels):
        mean = self.seen(pixels).mean(dim=(1, 2, 3))[:, None]
        return -self.scale * (mean - torch.tensor([[0.3, 0.5, 0.7]])).square()


class Quantised(Brightness):
    """Rounds pixels hard: the gradient is zero, the decision hardly changed."""

    def seen(self, pixels):
        return (pixels * 16).round() / 16


class Detached(Brightness):
    """Its input is cut from the graph; a bias keeps the logits differentiable."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(3))

    def seen(self, pixels):
        return pixels.detach()

    def forward(self, pixels):
        return super().forward(pixels) + self.bias


class Noisy(Brightness):
    """Noise on every pixel."""

    def __init__(self, noise, scale=60.0):
        super().__init__(scale)
        self.noise = noise

    def seen(self, pixels):
        return pixels + self.noise * torch.randn_like(pixels)


class Deafened(Noisy):
    """Decides well enough, but a side path fills the gradient with the noise of each draw."""

    def forward(self, pixels):
        logits = super().forward(pixels)
        hiss = ((pixels - pixels.detach()) * torch.randn_like(pixels)).sum(dim=(1, 2, 3))
        return logits + 1e4 * hiss[:, None] * torch.tensor([[1.0, -1.0, 0.5]])


@contextmanager
def quiet(model):
    assert isinstance(model, Noisy)
    noise, model.noise = model.noise, 0.0
    yield
    model.noise = noise


def checks(model, **options):
    settings = {"images": 60, "steps": 10, "gradient_samples": 6, "progress": False} | options
    return found_by_check(audit(model, three_classes(), model_name="toy", **settings))


def found_by_check(rows):
    return {row.check: row for row in rows}


@pytest.fixture
def few_queries(monkeypatch):
    """Square takes most of the time, and is not what these tests are about."""
    monkeypatch.setattr(sys.modules[_AuditedModel.__module__], "SQUARE_QUERIES", 5)


def failed(found):
    return {name for name, row in found.items() if row.passed is False}


def passed(found):
    return {name for name, row in found.items() if row.passed}


DETERMINISTIC = [
    *("useful_gradients", "falls_with_radius", "reaches_chance", "more_steps_no_stronger"),
    *("restarts_no_stronger", "dlr_no_stronger", "square_no_stronger"),
]


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_a_sound_model_passes(norm):
    found = checks(Brightness(), norm=norm)
    assert list(found) == DETERMINISTIC
    assert passed(found) == set(found)


def test_a_sound_noisy_model_passes():
    found = checks(Noisy(0.1), noise_off=quiet, base=Brightness())
    assert list(found) == [
        *DETERMINISTIC,
        *("more_samples_no_stronger", "one_sample_no_stronger", "transfer_no_stronger"),
        *("gradients_agree", "noise_off_no_stronger"),
    ]
    assert passed(found) == set(found)


@pytest.mark.parametrize(
    ("images", "clean", "attacked", "others"),
    [  # correct of the images: as they are, and under every attack; what most checks say
        (20, 1, 6, None),
        (200, 10, 60, None),
        (60, 36, 42, None),
        (9, 9, 0, None),
        (60, 22, 0, None),  # chance is 20
        (60, 60, 0, True),
    ],
)
def test_too_few_images_and_models_near_chance_are_inconclusive(
    monkeypatch, images, clean, attacked, others
):
    def planted(self, shown):
        return torch.arange(len(shown)) < (attacked if shown.max() > 1 else clean)

    monkeypatch.setattr(_AuditedModel, "correct", planted)
    monkeypatch.setattr(_AuditedModel, "adversarial", lambda self, *args, **kw: self.images + 1)
    found = audit(Brightness(), three_classes(images), model_name="toy", images=images, steps=1)
    verdicts = {name: row.passed for name, row in found_by_check(found).items()}
    compared = ["more_steps_no_stronger", "dlr_no_stronger", "square_no_stronger"]
    assert [verdicts[name] for name in compared] == [others] * 3
    if attacked > clean:  # more accurate attacked than not: never a pass
        assert verdicts["falls_with_radius"] is (False if images == 200 else None)


def test_the_interval_of_paired_shares_is_tangos():
    """Fagerland, Lydersen and Laake 2014 (Stat Med 33:2850), table IV: 1, 7 and 21 images."""
    first, other = torch.zeros(2, 21, dtype=torch.bool)
    first[:7], other[7:8] = True, True
    assert -largest_loss(first, other) == pytest.approx(-0.517, abs=5e-4)
    assert largest_loss(other, first) == pytest.approx(-0.026, abs=5e-4)
    alike = torch.ones(20, dtype=torch.bool)
    assert largest_loss(alike, alike) == pytest.approx(1.96**2 / (20 + 1.96**2), abs=1e-4)


def test_a_hard_quantiser_is_caught():
    found = checks(Quantised(), base=Brightness())
    assert found["useful_gradients"].value == 1
    expected = {"useful_gradients", "reaches_chance", "square_no_stronger", "transfer_no_stronger"}
    assert expected <= failed(found)


def test_saturated_logits_are_caught():
    """Cross-entropy's gradient is zero in float32; the DLR loss is not fooled."""
    found = checks(Brightness(scale=1e5))
    assert {"useful_gradients", "reaches_chance", "dlr_no_stronger"} <= failed(found)


def test_a_detached_input_is_caught():
    found = checks(Detached())
    assert {"useful_gradients", "reaches_chance", "square_no_stronger"} <= failed(found)
    frozen = checks(Detached().requires_grad_(False))  # nothing at all to differentiate
    assert failed(frozen) == failed(found)


@pytest.mark.usefixtures("few_queries")
def test_gradients_drowned_in_noise_are_caught():
    found = checks(Deafened(0.02), base=Brightness())
    assert {"gradients_agree", "reaches_chance", "transfer_no_stronger"} <= failed(found)
    assert abs(found["gradients_agree"].value) < 0.1


@pytest.mark.usefixtures("few_queries")
def test_an_audit_repeats_and_leaves_no_trace():
    model, settings = Noisy(0.1).train(), {"images": 9, "steps": 3, "gradient_samples": 2}
    state = torch.get_rng_state()
    first = checks(model, **settings)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert checks(model, **settings) == first


@pytest.mark.usefixtures("few_queries")
def test_two_classes_are_audited_without_dlr():
    class Two(Brightness):
        def forward(self, pixels):
            return super().forward(pixels)[:, ::2]

    data = dark_and_bright(20, size=SIZE)
    found = audit(Two(), data, model_name="toy", steps=5, progress=False)
    assert "dlr_no_stronger" not in [row.check for row in found]


def test_luck_alone_fails_one_sound_model_in_twenty(monkeypatch):
    """Attacks that are all as strong: each leaves every image right by a chance of its own."""
    coins = torch.Generator().manual_seed(0)

    def chance_level(self, images):
        return torch.rand(len(images), generator=coins) < 1 / 3

    monkeypatch.setattr(_AuditedModel, "correct", chance_level)
    monkeypatch.setattr(_AuditedModel, "adversarial", lambda self, *args, **settings: self.images)
    monkeypatch.setattr(_AuditedModel, "gradient", lambda self, images: images.flatten(1))
    runs, family = 200, 0
    options = {"noise_off": quiet, "base": Brightness(), "seed": 3, "images": 30}
    for _ in range(runs):
        found = checks(Noisy(0.1), gradient_samples=2, **options)
        family += bool(failed(found))
    assert family / runs < 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_holm_corrects_for_the_number_of_tests():
    """Holm's own step-down: 0.01, 0.02, 0.03 against 0.05 / 3, 0.05 / 2, 0.05."""
    assert holm({"a": 0.03, "b": 0.01, "c": 0.02}, 0.05) == {"a", "b", "c"}
    assert holm({"a": 0.03, "b": 0.01, "c": 0.03}, 0.05) == {"b"}
    assert holm({"a": 0.02, "b": 0.02, "c": 0.02}, 0.05) == set()
    assert holm({}, 0.05) == set()


def test_sign_test_counts_the_images_that_attacks_disagree_on():
    correct = torch.tensor([1] * 9 + [0] * 2 + [1] * 5).bool()
    other = torch.tensor([0] * 9 + [1] * 2 + [1] * 5).bool()
    assert sign_test(correct, other) == pytest.approx((55 + 11 + 1) / 2**11)
    assert sign_test(correct, correct) == 1


@pytest.mark.usefixtures("few_queries")
def test_every_setting_has_an_audit_of_its_own(tmp_path):
    """And the same settings have one."""
    path = tmp_path / "audit.jsonl"

    def run(**changes):
        settings = {"model_name": "a", "images": 12, "steps": 2, "progress": False} | changes
        return audit(Brightness(), three_classes(), out_path=path, **settings)

    rows: list[AuditRow] = []
    others = {"seed": 1, "images": 9, "norm": "l2", "model_name": "b", "base": Brightness()}
    for changes in [{}, *({name: value} for name, value in others.items())]:
        found = run(**changes)
        rows += found
        assert run(**changes) == found
        assert read_jsonl(path, AuditRow) == rows


def test_a_light_audit_asks_what_needs_no_other_attack(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    found = checks(Noisy(0.1), noise_off=quiet, base=Brightness(), thorough=False, progress=True)
    transfer, agreement = "transfer_no_stronger", "gradients_agree"
    assert list(found) == [*DETERMINISTIC[:3], transfer, agreement]
    assert failed(found) == set()
    # 6 radii and a transfer of 10 steps and 6 draws; 8 decisions of 10 draws; 3 gradients
    total = 60 * (7 * 2 * 10 * 6 + 8 * 10 + 3 * 2 * 6)
    assert f"toy: audit: 100%|██████████| {total / 1000:.1f}k/{total / 1000:.1f}k" in (
        capsys.readouterr().err
    )


class KilledError(Exception):
    pass


@pytest.mark.usefixtures("few_queries")
def test_a_killed_audit_goes_on_to_the_same_rows(tmp_path):
    """It dies after every measurement; what is damaged meanwhile is measured again."""
    path = tmp_path / "audit.jsonl"
    settings = {"images": 9, "steps": 2, "gradient_samples": 2, "noise_off": quiet}
    settings |= {"base": Brightness(), "out_path": path}
    whole = checks(Noisy(0.1), **settings | {"out_path": None})
    add, kills = Journal.add, 0

    def add_and_die(*entry):
        add(*entry)
        raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "add", add_and_die)
        while not path.exists():
            kept = list(tmp_path.glob("*.unfinished-*"))
            if kills == 3:
                kept[0].write_bytes(kept[0].read_bytes()[:-20] + b"\xff\n")
            try:
                found = checks(Noisy(0.1), **settings)
            except KilledError:
                kills += 1
    assert found == whole
    assert kills == 1 + 1 + 6 + len(whole) - 3 + 1  # one of them again
    assert not list(tmp_path.glob("*.unfinished-*"))


@pytest.mark.usefixtures("few_queries")
def test_an_audit_matches_classes_by_name_and_belongs_to_all_it_depends_on(tmp_path):
    data, path = three_classes(12), tmp_path / "audit.jsonl"
    names = ("bright", "dark", "grey")

    class Named(Brightness):
        def forward(self, pixels):
            return super().forward(pixels)[:, [2, 0, 1]]

    def clean(mean=0.0, images=data, **changes):
        settings = {"images": 12, "steps": 2, "progress": False, "out_path": path} | changes
        model = PixelModel(Named(), mean, 1.0, classes=names)
        rows = audit(model, images, model_name="toy", **settings)
        return rows[0].settings["classes"]

    others = [{}, {"mean": 0.1}, {"batch_size": 5}, {"thorough": False}]
    others += [{"images": ImageArrays(data.images.flip(0), data.labels.flip(0), data.classes, "b")}]
    for number, changes in enumerate(others, start=1):
        for _ in range(2):
            assert clean(**changes) == "3 classes of 3 outputs, by name"
        found = read_jsonl(path, AuditRow)
        assert len({(row.model_hash, str(row.settings)) for row in found}) == number
