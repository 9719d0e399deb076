"""Augmentation, mixing and attacks: each against its library or a formula, and seeds."""

import pickle

import pytest
import torch
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.mixup import Mixup
from torchvision.transforms import v2

import vonenet
from tests.robustness.test_norms import lengths
from vonenet.data import ImageArrays, PixelModel
from vonenet.data.decoding import as_pixels
from vonenet.data.seeding import item_seeded
from vonenet.errors import InputError
from vonenet.robustness import corrupt, pgd
from vonenet.training.augment import TrainingImages, attacked, mixed
from vonenet.training.config import AdversarialRecipe, AugmentationRecipe

PLAIN = {"crop": "centre", "horizontal_flip": False}
ALL = AugmentationRecipe(
    rand_augment="rand-m9-n2-mstd0.5",
    color_jitter=0.4,
    corruptions=("contrast", "gaussian_noise", "jpeg_compression"),
    corruption_share=0.5,
    gaussian_noise=0.1,
    random_erasing=0.5,
)


def photographs(count=40, channels=3, side=32):
    """Smooth random images, no two alike and none symmetric."""
    draws = torch.rand(count, channels, 5, 5, generator=torch.Generator().manual_seed(1))
    images = v2.functional.resize(draws, [side, side]).mul(255).byte()
    return ImageArrays(images, torch.arange(count) % 3, ["a", "b", "c"], "photographs")


def items(recipe, data, epoch=0, seed=0):
    training = TrainingImages(data, recipe, data.images.shape[-1], seed)
    return torch.stack([training[epoch, index][0] for index in range(len(training))])


def originals(data):
    return torch.stack([data[index][0] for index in range(len(data))])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("crop", ["random_resized", "shift", "centre"])
def test_everything_at_once_gives_pixels_and_labels(channels, crop):
    data = photographs(channels=channels)
    recipe = AugmentationRecipe(**{**vars(ALL), "crop": crop})
    training = pickle.loads(pickle.dumps(TrainingImages(data, recipe, 32, seed=0)))  # as to workers
    for index in range(len(data)):
        pixels, label = training[0, index]
        assert pixels.shape == (channels, 32, 32)
        assert pixels.dtype == torch.float32
        assert 0 <= pixels.min() <= pixels.max() <= 1
        assert label == data.labels[index]
    assert len(training) == len(data)


def test_items_depend_on_seed_epoch_and_index_alone():
    data = photographs(20)
    whole = items(ALL, data)
    training = TrainingImages(data, ALL, 32, seed=0)
    torch.manual_seed(5)
    assert torch.equal(training[0, 7][0], whole[7])
    for other in (items(ALL, data, epoch=1), items(ALL, data, seed=1)):
        assert not (other == whole).flatten(1).all(dim=1).any()
    copies = ImageArrays(data.images[:1].expand(20, -1, -1, -1), data.labels, data.classes, "x")
    assert len(torch.unique(items(ALL, copies), dim=0)) == 20


def test_half_of_the_images_are_mirrored_and_nothing_else_is_done():
    data = photographs(400)
    found, plain = items(AugmentationRecipe(crop="centre"), data), originals(data)
    kept = (found == plain).flatten(1).all(dim=1)
    mirrored = (found == plain.flip(-1)).flatten(1).all(dim=1)
    assert (kept ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_each_image_moves_as_a_whole_by_up_to_the_reach():
    images = torch.randint(1, 256, (60, 3, 4, 5), dtype=torch.uint8)
    data = ImageArrays(images, torch.zeros(60), ["a"], "x")
    recipe = AugmentationRecipe(crop="shift", shift_px=1, horizontal_flip=False)
    training = TrainingImages(data, recipe, 4, seed=0)
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    seen = set()
    for index in range(60):
        moved = training[0, index][0]
        plain = data[index][0]
        found = [
            (down, right)
            for down, right in moves
            if torch.equal(v2.functional.affine(plain, 0, [right, down], 1, [0, 0]), moved)
        ]
        assert len(found) == 1
        seen.add(found[0])
    assert seen == set(moves)


DESCRIPTION = "rand-m9-n3-mstd0.5-inc1"
TIMMS = AugmentationRecipe(**PLAIN, rand_augment=DESCRIPTION)
FILLED = {"interpolation": Image.Resampling.BILINEAR}


@pytest.mark.parametrize(
    ("recipe", "channels", "theirs"),
    [
        (
            AugmentationRecipe(smallest_area=0.3, horizontal_flip=False),
            3,
            v2.RandomResizedCrop(32, scale=(0.3, 1.0)),
        ),
        (
            AugmentationRecipe(**PLAIN, color_jitter=0.4),
            3,
            lambda image: v2.ColorJitter(0.4, 0.4, 0.4)(as_pixels(image)),
        ),
        (TIMMS, 1, rand_augment_transform(DESCRIPTION, FILLED | {"img_mean": 128})),
        (TIMMS, 3, rand_augment_transform(DESCRIPTION, FILLED | {"img_mean": (128, 128, 128)})),
    ],
)
def test_random_parts_are_torchvisions_and_rand_augment_is_timms(recipe, channels, theirs):
    data = photographs(30, channels)
    found = items(recipe, data, epoch=2, seed=4)
    assert not torch.equal(found, originals(data))
    for index, pixels in enumerate(found):
        with item_seeded(4, 2, index):
            expected = theirs(data.whole(index))
        if isinstance(expected, Image.Image):
            expected = as_pixels(expected)
        assert torch.equal(pixels, expected)


POLICIES = ["rand", "rand-m15-mmax20-t3aw", "augmix-m5-w4-d2", "original-mstd0.5", "3a"]
# timm's own posterize asks Pillow for 0 bits or fewer at these strengths
NO_BITS = ["rand-m0", "rand-m10-inc1", "rand-m15-mmax20-inc1", "v0"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("description", [*POLICIES, *NO_BITS])
def test_every_kind_of_policy_runs_on_colour_and_grey(description, channels):
    data = photographs(100 if description in NO_BITS else 20, channels, side=16)
    assert items(AugmentationRecipe(**PLAIN, rand_augment=description), data).shape[1] == channels


@pytest.mark.parametrize("description", ["rand-q3", "random", "rand-tbest", "", "original-m9"])
def test_an_unknown_policy_is_refused(description):
    with pytest.raises(InputError, match=r"augmentation.rand_augment='.*' is impossible; allowed"):
        items(AugmentationRecipe(rand_augment=description), photographs(1))


def test_noise_has_a_random_spread_up_to_the_largest():
    grey = ImageArrays(torch.full((400, 1, 32, 32), 0.5), torch.zeros(400), ["a"], "grey")
    spread = items(AugmentationRecipe(**PLAIN, gaussian_noise=0.1), grey).flatten(1).std(dim=1)
    assert spread.max() < 0.11
    # uniform on [0, 0.1]: mean 0.05, standard deviation 0.1 / sqrt(12), 400 draws
    assert spread.mean() == pytest.approx(0.05, abs=0.005)
    assert spread.std() == pytest.approx(0.1 / 12**0.5, abs=0.003)


def test_a_share_of_the_images_is_corrupted_by_any_type_at_any_severity():
    data = photographs(300)
    names = ("contrast", "pixelate")
    found = items(AugmentationRecipe(**PLAIN, corruptions=names, corruption_share=0.6), data)
    plain = originals(data)
    known = {(name, s): corrupt(plain, name, s) for name in names for s in range(1, 6)}
    seen = {}
    for index in range(300):
        kinds = [kind for kind in known if torch.equal(known[kind][index], found[index])]
        kind = kinds[0] if kinds else None
        assert kind or torch.equal(found[index], plain[index])
        seen[kind] = seen.get(kind, 0) + 1
    assert seen.keys() == {None, *known}
    assert 90 < seen[None] < 150
    grey = ImageArrays(torch.full((40, 1, 32, 32), 0.5), torch.zeros(40), ["a"], "grey")
    recipe = AugmentationRecipe(**PLAIN, corruptions=("gaussian_noise",), corruption_share=1.0)
    assert len(torch.unique(items(recipe, grey), dim=0)) == 40  # each has its own noise


def test_what_cannot_be_made_is_refused():
    with pytest.raises(InputError, match=r"corruptions=\['rain'\] is impossible: .*'rain' is unkn"):
        items(AugmentationRecipe(corruptions=("rain",)), photographs(1))
    with pytest.raises(InputError, match=r"corruptions=\['contrast'\] is impossible: .* 28 px"):
        items(AugmentationRecipe(corruptions=("contrast",)), photographs(1, side=16))
    with pytest.raises(InputError, match=r"corruption_share=0.5 is impossible without"):
        items(AugmentationRecipe(corruption_share=0.5), photographs(1))
    with pytest.raises(InputError, match=r"shift_px=32 is impossible; allowed: below image_size"):
        items(AugmentationRecipe(crop="shift", shift_px=32), photographs(1))


def test_erasing_leaves_the_rest_of_the_image_alone():
    data = photographs(200)
    found = items(AugmentationRecipe(**PLAIN, random_erasing=0.5), data)
    changed = (found != originals(data)).any(dim=1)
    erased = changed.flatten(1).any(dim=1)
    assert 75 < erased.sum() < 125
    for mask in changed[erased]:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert mask.sum() > 0.9 * area  # a whole rectangle; a few values fall on those erased
        assert area < 0.4 * mask.numel()


CLASSES = 7


def batch(count=6):
    return torch.rand(count, 3, 16, 16), torch.randint(CLASSES, (count,))


@pytest.mark.parametrize("alphas", [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_even_batches_are_timms(alphas):
    pixels, labels = batch()
    assert mixed(pixels, labels, AugmentationRecipe(), CLASSES, 0.1, seed=0) == (pixels, labels)
    recipe = AugmentationRecipe(mixup=alphas[0], cutmix=alphas[1])
    for seed in range(10):
        given = pixels.clone()
        found, targets = mixed(pixels, labels, recipe, CLASSES, 0.1, seed)
        assert torch.equal(pixels, given)
        timms = Mixup(*alphas, num_classes=CLASSES, label_smoothing=0.1)
        with item_seeded(seed, 0, 0):
            expected = timms(pixels.clone(), labels)
        assert torch.equal(found, expected[0])
        assert torch.equal(targets, expected[1])


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_every_image_is_a_mixture_of_two_and_its_target_says_so(count):
    pixels, _ = batch(count)
    labels = torch.arange(count)
    found, targets = mixed(pixels, labels, AugmentationRecipe(mixup=1.0), CLASSES, 0.0, seed=1)
    shares = targets[:, :count]
    assert torch.allclose(shares.sum(dim=1), torch.ones(count))
    assert torch.allclose(found, torch.einsum("ij,jchw->ichw", shares, pixels), atol=1e-6)
    assert int((shares.max(dim=1).values < 1).sum()) == count - count % 2


@pytest.mark.parametrize("count", [5, 6])
def test_cutmix_shares_are_areas(count):
    pixels = torch.arange(count)[:, None, None, None] / CLASSES * torch.ones(count, 1, 16, 16)
    labels = torch.arange(count)
    found, targets = mixed(pixels, labels, AugmentationRecipe(cutmix=1.0), CLASSES, 0.0, seed=4)
    areas = torch.stack(
        [(found == value / CLASSES).float().mean(dim=(1, 2, 3)) for value in labels]
    )
    assert torch.allclose(areas.T, targets[:, :count])
    assert areas.max() < 1 or count % 2


def test_white_stays_white():
    """Above 1 by a rounding, an attack would refuse it."""
    white, labels = torch.ones(2, 1, 4, 4), torch.zeros(2, dtype=torch.int64)
    for seed in range(200):
        found, _ = mixed(white, labels, AugmentationRecipe(mixup=1.0), CLASSES, 0.0, seed)
        assert found.max() <= 1


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = vonenet.create_model(
        "voneresnet_small", image_size=32, num_classes=4, simple_channels=16, complex_channels=16
    )
    pixel_model = PixelModel(model, 0.5, 0.5).train()
    for _ in range(20):  # running statistics that a network in eval mode can work with
        pixel_model(torch.rand(16, 3, 32, 32))
    return pixel_model


@pytest.fixture
def images():
    return torch.rand(6, 3, 32, 32), torch.randint(4, (6,))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epsilon": 8 / 255}, {"step_size": 2.5 * 8 / 255 / 3, "gradient_samples": 1}),
        ({"epsilon": 0.6, "norm": "l2", "gradient_samples": 2}, {"step_size": 0.5}),
        ({"epsilon": 10.0, "norm": "l1", "steps": 5, "step_size": 2.0}, {"gradient_samples": 1}),
        (
            {"epsilon": 0.1, "steps": 2, "step_size": 0.01, "random_start": False},
            {"gradient_samples": 1},
        ),
    ],
)
def test_it_is_our_pgd_in_the_ball(network, images, settings, expected):
    network.model.bottleneck.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    torch.manual_seed(1)
    found = attacked(network, *images, AdversarialRecipe(**settings))
    # The network is left as it was, and its statistics too: it was in eval mode
    assert not found.requires_grad
    assert [module.training for module in network.modules()] == modes
    assert not network.model.bottleneck.weight.requires_grad
    assert network.model.model.fc.weight.requires_grad
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.eval()
    torch.manual_seed(1)
    defaults = {"norm": "linf", "steps": 3, "random_start": True}
    assert torch.equal(found, pgd(network, *images, **defaults | settings | expected))
    network.train()
    length = lengths(found - images[0], settings.get("norm", "linf"))
    most = settings["epsilon"] if settings.get("random_start", True) else 0.02  # two steps
    assert length.min() > 0
    assert length.max() <= most * 1.001
    assert 0 <= found.min() <= found.max() <= 1


def test_epsilon_0_is_the_image_itself_and_of_soft_labels_the_largest_is_attacked(network, images):
    pixels, labels = images
    assert attacked(network, pixels, labels, AdversarialRecipe()) is pixels
    soft = torch.full((6, 4), 0.1).scatter(1, labels[:, None], 0.7)
    recipe = AdversarialRecipe(epsilon=4 / 255)
    torch.manual_seed(2)
    hard = attacked(network, pixels, labels, recipe)
    torch.manual_seed(2)
    assert torch.equal(attacked(network, pixels, soft, recipe), hard)


def test_it_works_in_mixed_precision(network, images):
    recipe = AdversarialRecipe(epsilon=8 / 255)
    torch.manual_seed(3)
    full = attacked(network, *images, recipe)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        found = attacked(network, *images, recipe)
    assert found.dtype == torch.float32
    assert (found - images[0]).abs().max() <= 8 / 255 + 1e-6
    assert ((found - full).abs() < 1 / 255).float().mean() > 0.6  # most steps went the same way
