"""Class activation maps: against loops, closed forms, captum and MONAI, and on the heads that have none."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from captum.attr import LayerAttribution, LayerGradCam
from monai.visualize import CAM as MonaiCAM
from monai.visualize import GradCAMpp as MonaiGradCAMpp
from torch import nn

from monai_robustinterp.interpreters import CAM, GradCAM, GradCAMpp, Interpreter, RobustActivationMap, explaining
from monai_robustinterp.interpreters.context.hooks import LayerNotFoundError
from monai_robustinterp.interpreters.pooled_head import TOLERANCE, pooled_features
from tests.support.cases import collected

FAMILY = (CAM, GradCAMpp, RobustActivationMap)
POOLED = (CAM, RobustActivationMap)
ACTS = {"identity": nn.Identity, "relu": nn.ReLU}


def mean(features: torch.Tensor) -> torch.Tensor:
    return features.mean(dim=(2, 3))


def largest(features: torch.Tensor) -> torch.Tensor:
    return features.amax(dim=(2, 3))


class Pooled(nn.Module):
    """One convolution of 5 channels, an activation, a pooling and a linear layer to 4 logits, all replaceable."""

    def __init__(self, *, act: nn.Module, pool=mean, head: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3, stride=2, padding=1)
        self.act = act
        self.pool = pool
        self.other = nn.Linear(5, 4)  # of the right shape, and not the head
        self.head = head or nn.Linear(5, 4)
        self.unused = nn.Conv2d(1, 5, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.act(self.conv(image))))


class ConvHead(nn.Module):
    """A 1 x 1 convolution of the pooled channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(5, 4, 1, bias=False)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.conv(pooled[..., None, None]).flatten(1)


def seeded(build, seed: int = 1) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


@pytest.fixture
def batch() -> torch.Tensor:
    return torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(5))


def attribute(interpreter: Interpreter, network: nn.Module, inputs: torch.Tensor, target: int = 0) -> torch.Tensor:
    with explaining(network):
        return interpreter.attribute(network, inputs, target).maps


def enlarged(maps: torch.Tensor, size: int = 32) -> torch.Tensor:
    return nn.functional.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def summed(features: torch.Tensor, weights: list[float]) -> torch.Tensor:
    """Sum of one image's channels [K, h, w] with weights, in double precision and by a loop; [1, 1, h, w]."""
    total = torch.zeros(features.shape[1:], dtype=torch.float64)
    for channel, weight in zip(features, weights, strict=True):
        total += weight * channel.double()
    return total[None, None]


class TestCAM:
    @pytest.mark.parametrize("pool", [mean, largest])
    @pytest.mark.parametrize("act", ACTS)
    def test_it_is_the_sum_of_the_pooled_channels_by_the_targets_weights(self, pool, act, batch) -> None:
        network = seeded(lambda: Pooled(act=ACTS[act](), pool=pool))
        with torch.no_grad():
            features = network.act(network.conv(batch))
        expected = torch.cat([enlarged(summed(f, network.head.weight[2].tolist())) for f in features])
        for layer in ("conv", "act"):
            found = attribute(CAM(layer), network, batch, target=2)
            torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("layer", ["features.norm5", "class_layers.relu"])
    def test_it_is_hw_times_grad_cam_before_its_relu_where_the_mean_is_pooled(self, dense, batch, layer) -> None:
        plain = copy.deepcopy(dense)
        for module in plain.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        grad_cam = LayerGradCam(plain, plain.class_layers.relu).attribute(batch, target=1).detach()
        expected = LayerAttribution.interpolate(grad_cam * math.prod(grad_cam.shape[-2:]), (32, 32), "bilinear")
        found = attribute(CAM(layer), dense, batch, target=1)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))

    def test_it_is_monais_without_the_bias_and_the_inverting_normaliser(self, dense, batch) -> None:
        dense.class_layers.out.bias.data = torch.tensor([0.3, -0.7])
        monai = MonaiCAM(
            copy.deepcopy(dense), "class_layers.relu", fc_layers="class_layers.out", postprocessing=lambda maps: maps
        )
        theirs = monai(batch, class_idx=[1] * len(batch)) + 0.7
        torch.testing.assert_close(attribute(CAM("class_layers.relu"), dense, batch, 1), theirs, rtol=1e-4, atol=1e-6)

    def test_its_mean_and_the_bias_are_the_logit_where_the_mean_is_pooled(self, tiny, batch) -> None:
        tiny.head.bias.data = torch.tensor([5.0, -3.0, 1.0])
        with explaining(tiny):
            result = CAM("features.4").attribute(tiny, batch, 1)
        torch.testing.assert_close(result.maps.mean(dim=(1, 2, 3)) - 3.0, result.logits[:, 1], rtol=1e-4, atol=1e-5)


class TestHead:
    @pytest.mark.parametrize("pool", [mean, largest])
    @pytest.mark.parametrize("act", ACTS)
    @pytest.mark.parametrize("head", [None, ConvHead])
    def test_act_pooling_and_linear_layer_are_found(self, pool, act, head, batch) -> None:
        network = seeded(lambda: Pooled(act=ACTS[act](), pool=pool, head=head() if head else None))
        with explaining(network):
            features, logits, found = pooled_features(network, batch, 0, target_layer="conv")
        assert (found.relu, found.maximum, found.name) == (
            act == "relu",
            pool is largest,
            "head.conv" if head else "head",
        )
        assert torch.equal(logits, network(batch))
        assert torch.equal(features, network.act(network.conv(batch)))

    @pytest.mark.parametrize("act", ACTS)
    def test_the_images_cannot_hide_whether_a_relu_is_before_max_pooling(self, act, batch) -> None:
        """With positive maxima the logits are the same with and without one; only the maps differ."""
        network = seeded(lambda: Pooled(act=ACTS[act](), pool=largest))
        assert (largest(network.conv(batch)) > 0).all() and (network.conv(batch) < 0).any()
        with torch.no_grad():
            features = network.act(network.conv(batch))
        expected = enlarged(torch.einsum("k,bkhw->bhw", network.head.weight[1].detach(), features)[:, None])
        torch.testing.assert_close(attribute(CAM("conv"), network, batch, 1), expected, rtol=1e-4, atol=1e-6)

    def test_a_linear_layer_without_pooling_of_one_position_is_a_head_too(self) -> None:
        network = seeded(lambda: Pooled(act=nn.ReLU()))
        point = torch.rand(3, 1, 1, 1)
        expected = (network.act(network.conv(point)) * network.head.weight[0][:, None, None]).sum(dim=1, keepdim=True)
        torch.testing.assert_close(attribute(CAM("conv"), network, point), expected.detach())

    def test_a_convolution_to_the_logits_before_average_pooling_is_the_same_head(self, batch) -> None:
        network = seeded(
            lambda: nn.Sequential(nn.Conv2d(1, 5, 3), nn.Conv2d(5, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        )
        with torch.no_grad():
            expected = enlarged((network[:2](batch) - network[1].bias[:, None, None])[:, 3:])
        torch.testing.assert_close(attribute(CAM("0"), network, batch, 3), expected, rtol=1e-4, atol=1e-6)

    def test_memory_format_and_wrappers_change_nothing(self, dense, batch) -> None:
        wrapped = nn.Sequential(copy.deepcopy(dense)).to(memory_format=torch.channels_last)
        expected = attribute(CAM("features.norm5"), dense, batch)
        torch.testing.assert_close(attribute(CAM("0.features.norm5"), wrapped, batch), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize(
        "build",
        [
            pytest.param(lambda: Pooled(act=nn.GELU()), id="another activation"),
            pytest.param(lambda: Pooled(act=nn.ReLU(), pool=lambda f: mean(f) + largest(f)), id="two poolings"),
            pytest.param(lambda: Pooled(act=nn.ReLU(), pool=lambda f: mean(f[..., :8])), id="half of the positions"),
            pytest.param(
                lambda: Pooled(act=nn.ReLU(), head=nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 4))),
                id="two linear layers",
            ),
            pytest.param(
                lambda: Pooled(act=nn.ReLU(), head=nn.Sequential(nn.Linear(5, 4), nn.Sigmoid())), id="probabilities"
            ),
        ],
    )
    @pytest.mark.parametrize("cls", POOLED)
    def test_other_heads_are_refused_with_what_was_tried(self, build, cls, batch) -> None:
        network = seeded(build)
        with explaining(network), pytest.raises(ValueError, match=r"5 channels of 16 x 16 for 4 logits") as refusal:
            cls("conv").attribute(network, batch, 0)
        message = str(refusal.value)
        assert "'other'" in message and "misses the logits by" in message and "use grad_cam" in message

    def test_a_network_without_a_linear_layer_of_that_size_is_refused(self, dense, batch) -> None:
        with explaining(dense), pytest.raises(ValueError, match=r"no linear layer of 8 inputs and 2 outputs"):
            CAM("features.pool0").attribute(dense, batch, 0)

    def test_a_layer_that_is_called_more_than_once_counts_for_its_last_call(self, batch) -> None:
        class Shared(Pooled):
            def __init__(self) -> None:
                super().__init__(act=nn.ReLU())
                self.stem = nn.Conv2d(1, 1, 3)

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return super().forward(self.act(self.stem(image)))

        network = seeded(Shared)
        torch.testing.assert_close(attribute(CAM("act"), network, batch), attribute(CAM("conv"), network, batch))

    def test_a_head_that_some_images_pass_by_is_refused(self, batch) -> None:
        """The fixed probe answers as a head does, and one image of the batch has logits from elsewhere."""

        class Bright(Pooled):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return super().forward(image) + (image.mean(dim=(1, 2, 3)) > 0.9)[:, None]

        network = seeded(lambda: Bright(act=nn.ReLU()))
        attribute(CAM("conv"), network, batch)
        batch[2] = 1.0
        with explaining(network), pytest.raises(ValueError, match="misses the logits"):
            CAM("conv").attribute(network, batch, 0)

    def test_the_probe_runs_once_a_network_and_weights_are_read_anew(self, dense, batch) -> None:
        sizes: list[int] = []
        dense.register_forward_pre_hook(lambda _module, args: sizes.append(len(args[0])))
        with explaining(dense) as network:
            first, again = (pooled_features(network, batch, 0, target_layer="features.norm5")[2] for _ in range(2))
        assert sizes.count(2) == 1 and first.name == again.name
        dense.class_layers.out.weight.data = -3 * dense.class_layers.out.weight.data
        with explaining(dense) as network:
            changed = pooled_features(network, batch, 0, target_layer="features.norm5")[2]
        torch.testing.assert_close(changed.weight, -3 * first.weight)
        assert sizes.count(2) == 1

    def test_a_head_that_no_longer_makes_the_logits_is_looked_for_again(self, batch) -> None:
        class Either(Pooled):
            swapped = False

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                pooled = self.pool(self.act(self.conv(image)))
                return (self.other if self.swapped else self.head)(pooled)

        network = seeded(lambda: Either(act=nn.ReLU()))
        for network.swapped, name in ((False, "head"), (True, "other"), (False, "head")):
            with explaining(network):
                assert pooled_features(network, batch, 0, target_layer="conv")[2].name == name

    def test_the_tolerance_is_far_above_round_off_and_below_any_wrong_head(self, dense, batch) -> None:
        with explaining(dense):
            output = dense.features(batch).clone()
            _, logits, head = pooled_features(dense, batch, 0, target_layer="features.norm5")
        assert head.misfit(output, logits) < TOLERANCE / 100
        assert head.misfit(output, logits + 0.01 * logits.abs().max()) > TOLERANCE

    def test_values_that_are_not_finite_reach_the_vote_which_refuses_them(self, tiny, batch) -> None:
        tiny.features[0].weight.data[0, 0, 0, 0] = torch.nan
        assert not torch.isfinite(attribute(CAM("features.4"), tiny, batch)).any()


class TestGradCAMpp:
    @pytest.mark.parametrize("layer", [3, 4])
    def test_it_is_the_papers_sum_by_loops(self, tiny, batch, layer) -> None:
        """In double precision, with the factor exp(S) left out, before and behind the last ReLU."""
        double = copy.deepcopy(tiny).double()
        activations = double.features[: layer + 1](batch.double())
        pooled = mean(double.features[layer + 1 :](activations.clone()))
        (gradients,) = torch.autograd.grad(double.head(pooled)[:, 1].sum(), activations)
        expected = []
        for activation, gradient in zip(activations.detach(), gradients):
            weights = []
            for a, g in zip(activation, gradient):
                weight = 0.0
                for value in g.flatten().tolist():
                    denominator = 2 * value**2 + value**3 * float(a.sum())
                    weight += (value**2 / denominator if denominator else 0.0) * max(value, 0.0)
                weights.append(weight)
            expected.append(summed(activation, weights))
        assert (torch.cat(expected) < 0).any() == (layer == 3)
        expected = torch.cat([enlarged(maps.clamp_min(0)) for maps in expected])
        found = attribute(GradCAMpp(f"features.{layer}"), tiny, batch, 1)
        assert found.max() > 0
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-8)

    def test_it_is_monais_over_the_exponential_of_the_score(self, dense, batch) -> None:
        """One image at a time: MONAI multiplies the scores of a batch along the columns of the gradients."""
        dense.class_layers.out.weight.data *= 30  # MONAI adds 1e-7 to a denominator of the size of g^2
        monai = MonaiGradCAMpp(copy.deepcopy(dense), "class_layers.relu", postprocessing=lambda maps: maps)
        for image in batch.split(1):
            theirs = monai(image, class_idx=1) / dense(image)[0, 1].exp()
            ours = attribute(GradCAMpp("class_layers.relu"), dense, image, 1)
            assert ours.max() > 0
            torch.testing.assert_close(ours, theirs.detach(), rtol=1e-3, atol=1e-5 * float(ours.max()))

    def test_gradients_whose_squares_are_no_floats_have_a_map(self, tiny, batch) -> None:
        ordinary = attribute(GradCAMpp("features.4"), tiny, batch, 1)
        tiny.head.weight.data *= 1e-25
        small = attribute(GradCAMpp("features.4"), tiny, batch, 1)
        assert (ordinary.amax(dim=(1, 2, 3)) > 0).all() and (small.amax(dim=(1, 2, 3)) > 0).all()

    def test_a_denominator_of_zero_gives_no_weight(self) -> None:
        """Two channels of sums -2 and 1 and gradients of 1: 2 + 1 * -2 = 0, and 2 + 1 * 1 = 3."""

        class Sums(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Identity()

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return self.layer(image.expand(-1, 2, -1, -1) * torch.tensor([-2.0, 1.0])[:, None, None]).sum(
                    dim=(1, 2, 3)
                )[:, None]

        found = attribute(GradCAMpp("layer"), Sums(), torch.ones(1, 1, 1, 1))
        assert found.item() == pytest.approx(1 / 3)


class TestRobustActivationMap:
    def expected(self, network: nn.Module, batch: torch.Tensor, top_classes: int) -> torch.Tensor:
        """By sorting Python numbers, one image at a time."""
        with torch.no_grad():
            features, logits = network.act(network.conv(batch)), network(batch)
        maps = []
        for feature, values in zip(features, logits.tolist()):
            ranked = sorted(range(len(values)), key=lambda c: (-values[c], c))[:top_classes]
            total = sum(
                enlarged(summed(feature, network.head.weight[c].tolist())) / 2**i for i, c in enumerate(ranked, start=1)
            )
            maps.append(total / total.max() if total.max() > 0 else total)
        return torch.cat(maps)

    @pytest.mark.parametrize("top_classes", [1, 2, 3, 4, 5, 300])
    @pytest.mark.parametrize("pool", [mean, largest])
    def test_it_is_the_papers_sum_and_all_classes_where_there_are_fewer(self, batch, pool, top_classes) -> None:
        network = seeded(lambda: Pooled(act=nn.ReLU(), pool=pool))
        found = attribute(RobustActivationMap("conv", top_classes), network, batch)
        torch.testing.assert_close(found.double(), self.expected(network, batch, top_classes), rtol=1e-4, atol=1e-6)

    def test_the_classes_are_ranked_for_each_copy(self, batch) -> None:
        network = seeded(lambda: Pooled(act=nn.Identity()))
        batch = torch.cat([5 * batch, -5 * batch])
        assert len({tuple(row) for row in network(batch).argsort(dim=1, descending=True).tolist()}) > 1
        found = attribute(RobustActivationMap("conv", 2), network, batch)
        torch.testing.assert_close(found.double(), self.expected(network, batch, 2), rtol=1e-4, atol=1e-6)

    def test_of_equal_logits_the_lower_index_comes_first(self, batch) -> None:
        """The largest value of an image and of its mirror image are the same, and their maps are not."""

        class Mirror(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = nn.Identity()
                self.head = nn.Linear(2, 64, bias=False)
                self.head.weight.data = torch.tensor([[1.0, 0.0]]).repeat(64, 1)
                self.head.weight.data[0] = torch.tensor([0.0, 1.0])

            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return self.head(largest(self.layer(torch.cat([image, image.flip(-1)], dim=1))))

        network = Mirror().eval()
        assert (network(batch) == network(batch)[:, :1]).all()
        mirrored, peaks = batch.flip(-1), largest(batch)[..., None, None]
        assert torch.equal(attribute(RobustActivationMap("layer", 1), network, batch), mirrored / peaks)
        both = mirrored / 2 + batch / 4
        torch.testing.assert_close(
            attribute(RobustActivationMap("layer", 2), network, batch), both / both.amax(dim=(2, 3), keepdim=True)
        )

    def test_its_maximum_is_1(self, dense, batch) -> None:
        for top_classes in (1, 2):
            maps = attribute(RobustActivationMap("features.norm5", top_classes), dense, batch)
            peaks = maps.amax(dim=(1, 2, 3))
            assert ((peaks == 1) | (peaks <= 0)).all() and (peaks == 1).any()

    def test_without_a_positive_value_it_is_left_undivided(self, batch) -> None:
        network = seeded(lambda: Pooled(act=nn.ReLU()))
        network.head.weight.data = -network.head.weight.data.abs() - 0.1
        found = attribute(RobustActivationMap("conv"), network, batch)
        assert (found <= 0).all() and found.std() > 0
        torch.testing.assert_close(found.double(), self.expected(network, batch, 4), rtol=1e-4, atol=1e-6)

    def test_a_dead_head_gives_zeros_and_no_nan(self, batch) -> None:
        network = seeded(lambda: Pooled(act=nn.ReLU()))
        network.head.weight.data.zero_()
        assert not attribute(RobustActivationMap("conv"), network, batch).any()

    def test_the_target_chooses_no_map_and_is_checked(self, dense, batch) -> None:
        interpreter = RobustActivationMap("features.norm5")
        assert not interpreter.explains_target
        assert torch.equal(attribute(interpreter, dense, batch, 0), attribute(interpreter, dense, batch, 1))
        with explaining(dense), pytest.raises(ValueError, match="2 logits"):
            interpreter.attribute(dense, batch, 2)

    @pytest.mark.parametrize("top_classes", [0, -1, 2.0, True, None, "5"])
    def test_a_number_of_classes_that_is_none_is_refused(self, top_classes) -> None:
        with pytest.raises(ValueError, match="an integer >= 1"):
            RobustActivationMap("conv", top_classes)

    def test_its_settings_are_its_arguments(self) -> None:
        assert RobustActivationMap("conv", 3).settings == {"target_layer": "conv", "top_classes": 3}
        assert CAM("conv").settings == {"target_layer": "conv"}
        assert GradCAMpp("conv", reshape="tokens").settings == {"target_layer": "conv", "reshape": "tokens"}


class TestBadInput:
    @pytest.mark.parametrize("cls", FAMILY)
    def test_a_wrong_layer_is_refused_with_the_candidates(self, cls, dense, batch) -> None:
        with collected() as case:
            for layer in ["features.nothing", ""]:
                rule = r"features\.norm5"
                with case(layer), explaining(dense), pytest.raises(LayerNotFoundError, match=rule):
                    cls(layer).attribute(dense, batch, 0)

    @pytest.mark.parametrize("cls", FAMILY)
    def test_a_layer_without_space_is_refused(self, cls, dense, batch) -> None:
        with explaining(dense), pytest.raises(ValueError, match="choose a layer before the pooling"):
            cls("class_layers.flatten").attribute(dense, batch, 0)

    @pytest.mark.parametrize("cls", FAMILY)
    def test_a_layer_that_the_forward_pass_leaves_out_is_refused(self, cls, batch) -> None:
        network = seeded(lambda: Pooled(act=nn.ReLU()))
        with explaining(network), pytest.raises(ValueError, match="does not go through layer 'unused'"):
            cls("unused").attribute(network, batch, 0)

    @pytest.mark.parametrize("cls", FAMILY)
    def test_a_layer_that_folds_the_image_into_the_batch_is_refused(self, cls, batch) -> None:
        class Patches(Pooled):
            def forward(self, image: torch.Tensor) -> torch.Tensor:
                return super().forward(torch.cat(image.split(16, dim=-1))).unflatten(0, (2, -1)).mean(dim=0)

        network = seeded(lambda: Patches(act=nn.ReLU()))
        with explaining(network), pytest.raises(ValueError, match="for a batch of 4"):
            cls("conv").attribute(network, batch, 0)

    @pytest.mark.parametrize("cls", FAMILY)
    @pytest.mark.parametrize("wrap", [lambda logits: {"logits": logits}, lambda logits: (logits, None)])
    def test_outputs_that_are_no_logits_are_refused(self, cls, wrap, batch) -> None:
        class Wrapped(Pooled):
            def forward(self, image: torch.Tensor) -> object:
                return wrap(super().forward(image))

        network = seeded(lambda: Wrapped(act=nn.ReLU()))
        with explaining(network), pytest.raises(ValueError, match=r"network returned (dict|tuple)"):
            cls("conv").attribute(network, batch, 0)

    @pytest.mark.parametrize("cls", POOLED)
    def test_a_head_in_torchscript_is_refused(self, cls, dense, batch) -> None:
        dense.class_layers = torch.jit.script(dense.class_layers)
        with explaining(dense), pytest.raises(ValueError, match="Python code, not TorchScript"):
            cls("features.norm5").attribute(dense, batch, 0)

    @pytest.mark.parametrize("cls", FAMILY)
    def test_an_error_leaves_no_hook_and_chance_is_not_touched(self, cls, batch) -> None:
        network = seeded(lambda: Pooled(act=nn.GELU()))
        before = torch.random.get_rng_state()
        with explaining(network):
            if cls in POOLED:
                with pytest.raises(ValueError):
                    cls("conv").attribute(network, batch, 0)
            else:
                cls("conv").attribute(network, batch, 0)
            assert not any(module._forward_hooks for module in network.modules())
        assert torch.equal(torch.random.get_rng_state(), before)

    @pytest.mark.parametrize("cls", POOLED)
    def test_no_gradient_is_needed(self, cls, dense, batch) -> None:
        expected = attribute(cls("features.norm5"), dense, batch)
        dense.class_layers.register_forward_hook(lambda module, inputs, output: output.detach())
        assert torch.equal(attribute(cls("features.norm5"), dense, batch), expected)
        assert not cls.needs_gradient and GradCAMpp.needs_gradient and GradCAM.needs_gradient
