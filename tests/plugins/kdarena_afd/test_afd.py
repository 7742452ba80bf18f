"""AFD against its printed losses, with critics of known values, and against deep mutual learning."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from kdarena_afd import variants
from kdarena_afd.networks import Discriminator, TransferLayer, feature_extractor
from kdarena_kd import variants as kd_variants
from torch import nn
from torch.distributions import Categorical, kl_divergence

from kdarena import Learner
from kdarena.params import ImpossibleValue
from kdarena.testing.run import make_run, new_step, take_steps
from kdarena.testing.task import toy_task

PAIR, CYCLE, LARGE = variants
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
BOTH = pytest.mark.parametrize(("plugin", "count"), [(PAIR, 2), (CYCLE, 3)], ids=["pair", "cycle"])


def pooled(feature_map, height, width):
    """The mean of each window of an evenly divided grid, one by one; windows overlap where a side is no multiple."""
    *_, rows, columns = feature_map.shape
    cells = [
        feature_map[:, :, rows * i // height : -(-rows * (i + 1) // height), columns * j // width : -(-columns * (j + 1) // width)].mean(dim=(2, 3))
        for i in range(height)
        for j in range(width)
    ]
    return torch.stack(cells, dim=2).reshape(*feature_map.shape[:2], height, width)


class Constant(nn.Module):
    """A critic that says the same of every map."""

    def __init__(self, value):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, feature_map):
        return self.value.expand(len(feature_map))


class Linear(nn.Module):
    """A critic with a weight a network of its own, so that no two agree."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, feature_map):
        return self.scale * feature_map[:, 0].mean(dim=(1, 2))


class Perfect(nn.Module):
    """A critic that knows the real maps."""

    def __init__(self, real):
        super().__init__()
        self.real = real

    def forward(self, feature_map):
        return torch.full((len(feature_map),), float(torch.equal(feature_map, self.real))) + 0 * feature_map.mean(dim=(1, 2, 3))


def networks(run, count):
    return [run.learner.student, *(run.learner.helpers[f"peer{k}"] for k in range(1, count))]


def turn(run, update, batch=None):
    step = new_step(run, update=update, batch=batch)
    return step, run.hooks.loss(step)


def soft(logits, temperature):
    return Categorical(probs=torch.softmax(logits.double() / temperature, dim=1))


def states(run):
    return {name: copy.deepcopy(module.state_dict()) for name, module in {"student": run.learner.student, **run.learner.helpers}.items()}


def changed(before, run):
    """Names of the parameters that changed; batch norm's statistics aside."""
    after = states(run)
    return {
        f"{module}.{name}"
        for module, state in before.items()
        for name, tensor in state.items()
        if "running" not in name and "num_batches" not in name and not torch.equal(tensor, after[module][name])
    }


class TestLogits:
    @BOTH
    def test_each_network_matches_the_labels_and_the_one_before_it(self, plugin, count):
        run = make_run(plugin, toy_task(), {"temperature": 3.0, "w_kl": 0.5})
        step, terms = turn(run, "logit")
        logits = [step.forward(network).logits for network in networks(run, count)]
        for k in range(count):
            previous = count - 1 if k == 0 else k - 1
            torch.testing.assert_close(terms[f"kl{k}"].double(), 0.5 * 9 * kl_divergence(soft(logits[previous], 3), soft(logits[k], 3)).mean(), **CLOSE)
            torch.testing.assert_close(terms[f"ce{k}"].double(), -soft(logits[k], 1).log_prob(step.targets).mean(), **CLOSE)

    def test_for_a_pair_the_cycle_goes_both_ways(self):
        run = make_run(PAIR, toy_task(), {"temperature": 1.0})
        step, terms = turn(run, "logit")
        z1, z2 = (step.forward(network).logits for network in networks(run, 2))
        torch.testing.assert_close(terms["kl0"].double(), kl_divergence(soft(z2, 1), soft(z1, 1)).mean(), **CLOSE)
        torch.testing.assert_close(terms["kl1"].double(), kl_divergence(soft(z1, 1), soft(z2, 1)).mean(), **CLOSE)

    @BOTH
    def test_a_networks_logit_loss_reaches_no_other_network(self, plugin, count):
        run = make_run(plugin, toy_task())
        _, terms = turn(run, "logit")
        for k in range(count):
            for j, network in enumerate(networks(run, count)):
                gradients = torch.autograd.grad(terms[f"ce{k}"] + terms[f"kl{k}"], list(network.parameters()), retain_graph=True, allow_unused=True)
                assert all((gradient is None) == (j != k) for gradient in gradients)

    def test_identical_networks_have_the_loss_and_gradient_of_cross_entropy_alone(self):
        run = make_run(PAIR, toy_task())
        run.instance.peers[0].load_state_dict(run.learner.student.state_dict())
        _, terms = turn(run, "logit")
        assert abs(float(terms["kl0"].detach())) < 1e-6
        weight = run.learner.student.head.weight
        both = torch.autograd.grad(terms["ce0"] + terms["kl0"], weight, retain_graph=True)[0]
        torch.testing.assert_close(both, torch.autograd.grad(terms["ce0"], weight)[0], **CLOSE)


class TestAdversary:
    @BOTH
    def test_real_is_the_map_of_the_network_before_and_fake_its_own(self, plugin, count):
        run = make_run(plugin, toy_task())
        for k in range(count):
            run.instance.critics[k] = Linear(0.3 + 0.2 * k)
        step, terms = turn(run, "critic")
        maps = [step.forward(network).feature_map.detach() for network in networks(run, count)]
        seen = [f[:, 0].mean(dim=(1, 2)) for f in maps]
        for k in range(count):
            scale, previous = 0.3 + 0.2 * k, (k + count - 1) % count
            expected = ((1 - scale * seen[previous]) ** 2).mean() + ((scale * seen[k]) ** 2).mean()
            torch.testing.assert_close(terms[f"d{k}"], expected, **CLOSE)

    @BOTH
    def test_a_network_wants_its_own_critic_to_take_its_map_for_real(self, plugin, count):
        run = make_run(plugin, toy_task())
        for k in range(count):
            run.instance.critics[k] = Linear(0.3 + 0.2 * k)
        step, terms = turn(run, "adversarial")
        for k, network in enumerate(networks(run, count)):
            value = (0.3 + 0.2 * k) * step.forward(network).feature_map.detach()[:, 0].mean(dim=(1, 2))
            torch.testing.assert_close(terms[f"g{k}"], ((1 - value) ** 2).mean(), **CLOSE)

    @BOTH
    def test_a_critic_that_cannot_tell_has_loss_one_half_and_the_network_one_quarter(self, plugin, count):
        run = make_run(plugin, toy_task())
        for k in range(count):
            run.instance.critics[k] = Constant(0.5)
        assert [float(term) for term in turn(run, "critic")[1].values()] == [0.5] * count
        assert [float(term) for term in turn(run, "adversarial")[1].values()] == [0.25] * count

    def test_a_perfect_critic_has_no_loss_and_the_network_loss_one(self):
        run = make_run(PAIR, toy_task())
        step = new_step(run, update="critic")
        maps = [step.forward(network).feature_map.detach() for network in networks(run, 2)]
        for k in range(2):
            run.instance.critics[k] = Perfect(maps[1 - k])
        assert [float(term) for term in run.hooks.loss(step).values()] == [0.0, 0.0]
        step.update = "adversarial"
        assert [float(term) for term in run.hooks.loss(step).values()] == [1.0, 1.0]

    def test_the_best_critic_of_fixed_densities_is_the_peers_share(self, monkeypatch):
        run = make_run(PAIR, toy_task())
        own, peer = torch.tensor([5, 3, 2]), torch.tensor([1, 3, 6])
        maps = [torch.eye(3)[torch.repeat_interleave(torch.arange(3), counts)].reshape(10, 3, 1, 1) for counts in (own, peer)]

        class Table(nn.Module):
            def __init__(self):
                super().__init__()
                self.values = nn.Parameter((peer / (peer + own)).float())

            def forward(self, feature_map):
                return feature_map.flatten(1) @ self.values

        run.instance.critics[0] = table = Table()
        run.instance.critics[1] = Linear(1.0)
        monkeypatch.setattr(run.instance, "maps", lambda step: maps)
        (gradient,) = torch.autograd.grad(turn(run, "critic")[1]["d0"], table.values)
        assert float(gradient.abs().max()) < 1e-6
        table.values.data += 0.1
        (gradient,) = torch.autograd.grad(turn(run, "critic")[1]["d0"], table.values)
        assert float(gradient.min()) > 0

    def test_moving_a_map_against_the_gradient_raises_the_critics_value(self):
        run = make_run(PAIR, toy_task())
        step, terms = turn(run, "adversarial")
        f_0 = step.student.feature_map
        (gradient,) = torch.autograd.grad(terms["g0"], f_0)
        assert float(gradient.abs().max()) > 0
        moved = f_0 - 0.1 * gradient / gradient.norm()
        critic = run.learner.helpers["critic0"]
        before, after = step.call_frozen(critic, f_0), step.call_frozen(critic, moved)
        assert float(after.mean()) > float(before.mean())
        assert float(((1 - after) ** 2).mean()) < float(((1 - before) ** 2).mean())

    @BOTH
    def test_the_adversarial_gradient_stays_in_its_own_feature_extractor(self, plugin, count):
        run = make_run(plugin, toy_task())
        _, terms = turn(run, "adversarial")
        for k in range(count):
            for j, network in enumerate(networks(run, count)):
                names, parameters = zip(*network.named_parameters(), strict=True)
                gradients = torch.autograd.grad(terms[f"g{k}"], parameters, retain_graph=True, allow_unused=True)
                reached = {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}
                assert reached == ({name for name in names if not name.startswith("head")} if j == k else set())
            critics = [parameter for j in range(count) for parameter in run.learner.helpers[f"critic{j}"].parameters()]
            assert all(gradient is None for gradient in torch.autograd.grad(terms[f"g{k}"], critics, retain_graph=True, allow_unused=True))

    @BOTH
    def test_a_critics_loss_reaches_that_critic_alone(self, plugin, count):
        run = make_run(plugin, toy_task())
        _, terms = turn(run, "critic")
        everything = {f"{name}.{inner}": parameter for name, module in run.learner.helpers.items() for inner, parameter in module.named_parameters()}
        everything |= {f"student.{name}": parameter for name, parameter in run.learner.student.named_parameters()}
        for k in range(count):
            gradients = torch.autograd.grad(terms[f"d{k}"], list(everything.values()), retain_graph=True, allow_unused=True)
            reached = {name.split(".")[0] for name, gradient in zip(everything, gradients, strict=True) if gradient is not None}
            assert reached == {f"critic{k}"}


class TestSteps:
    def test_the_adversarial_step_changes_feature_extractors_alone(self):
        run = make_run(PAIR, toy_task(), {"lr_d": 0.0, "lr_adv": 1e-3}, recipe={"lr": 0.0})
        before = states(run)
        take_steps(run, 1)
        found = changed(before, run)
        assert {name.split(".")[0] for name in found} == {"student", "peer1"}
        assert not any("head" in name for name in found)

    def test_the_critics_step_changes_critics_alone(self):
        run = make_run(PAIR, toy_task(), {"lr_d": 1e-3, "lr_adv": 0.0}, recipe={"lr": 0.0})
        before = states(run)
        take_steps(run, 1)
        assert {name.split(".")[0] for name in changed(before, run)} == {"critic0", "critic1"}

    @BOTH
    def test_without_adversarial_learning_rate_it_is_as_if_there_were_no_adversary(self, plugin, count):
        full, without = (make_run(plugin, toy_task(), {"lr_adv": 0.0}) for _ in range(2))
        phase = without.phases[0]
        without.phases = [replace(phase, updates=lambda run: [update for update in phase.updates(run) if update.name != "adversarial"])]
        histories = [take_steps(run, 4) for run in (full, without)]
        for one, other in zip(*histories, strict=True):
            assert {name: value for name, value in one.items() if not name.startswith("adversarial")} == other
        for one, other in zip(networks(full, count), networks(without, count), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))

    def test_without_adversarial_learning_rate_a_pair_is_deep_mutual_learning(self):
        adversarial = make_run(PAIR, toy_task(), {"lr_adv": 0.0})
        mutual = make_run(kd_variants[2], toy_task(), {"temperature": 3.0})
        one, other = take_steps(adversarial, 4), take_steps(mutual, 4)
        for mine, theirs in zip(one, other, strict=True):
            assert [mine[f"logit/{name}"] for name in ("ce0", "kl0", "ce1", "kl1")] == [
                theirs[f"student/{name}"] for name in ("ce0", "kl1to0", "ce1", "kl0to1")
            ]
        for left, right in zip(networks(adversarial, 2), mutual.learner.modules(), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True))

    def test_with_it_the_maps_are_moved(self):
        weights = []
        for lr_adv in (0.0, 1e-3):
            run = make_run(PAIR, toy_task(), {"lr_adv": lr_adv})
            take_steps(run, 2)
            weights.append(run.learner.student.stages[0][0].weight.detach().clone())
        assert not torch.equal(*weights)

    def test_each_network_runs_once_a_step_and_the_critics_statistics_move_on_their_own_turn_only(self):
        run = make_run(PAIR, toy_task())
        take_steps(run, 1)
        counted = {name: int(value) for name, value in run.learner.student.state_dict().items() if "num_batches" in name}
        assert set(counted.values()) == {1}
        critic = run.learner.helpers["critic0"].state_dict()
        assert {int(value) for name, value in critic.items() if "num_batches" in name} == {2}  # real and fake

    def test_both_adversarial_optimisers_are_adam_at_their_own_rates_on_the_tasks_curve(self):
        for params, expected in (({}, [2e-5, 2e-5]), ({"lr_adv": 3e-4, "lr_d": 7e-4}, [3e-4, 7e-4])):
            run = make_run(PAIR, toy_task(), params)
            updates = run.phases[0].updates(run)[1:]
            optimisers = [update.optimizer(list(update.params)) for update in updates]
            assert [update.name for update in updates] == ["adversarial", "critic"]
            assert [type(optimiser) for optimiser in optimisers] == [torch.optim.Adam, torch.optim.Adam]
            assert [optimiser.param_groups[0]["lr"] for optimiser in optimisers] == expected
            assert all(update.curve is None for update in updates)

    def test_weight_decay_of_the_adversarial_optimisers_is_off_by_default(self):
        run = make_run(PAIR, toy_task())
        optimisers = [update.optimizer(list(update.params)) for update in run.phases[0].updates(run)[1:]]
        assert all(group["weight_decay"] == 0 for optimiser in optimisers for group in optimiser.param_groups)


class TestNetworks:
    @BOTH
    def test_as_many_critics_as_networks(self, plugin, count):
        helpers = make_run(plugin, toy_task()).learner.helpers
        assert sum(name.startswith("critic") for name in helpers) == count
        assert sum(name.startswith("peer") for name in helpers) == count - 1
        assert not any(name.startswith("transfer") for name in helpers)

    def test_relabelling_the_networks_along_the_cycle_leaves_the_set_of_losses(self):
        run = make_run(CYCLE, toy_task())
        batch = next(run.augmented)

        def all_terms():
            return sorted(float(term) for update in ("logit", "adversarial", "critic") for term in turn(run, update, batch)[1].values())

        before = all_terms()
        first, second, third = run.learner.student, *run.instance.peers
        run.learner = Learner(second)
        run.instance.peers = [third, first]
        run.instance.critics = run.instance.critics[1:] + run.instance.critics[:1]
        assert all_terms() == pytest.approx(before, rel=1e-5)

    def test_transfer_layers_bring_unequal_maps_to_one_shape_and_learn_from_the_adversarial_loss(self):
        run = make_run(PAIR, toy_task(), {"peer": "teacher", "lr_d": 0.0, "lr_adv": 1e-3}, recipe={"lr": 0.0})
        step = new_step(run, update="adversarial")
        assert {f.shape for f in run.instance.maps(step)} == {torch.Size([16, 6, 4, 4])}
        before = states(run)
        take_steps(run, 1)
        assert {"transfer0", "transfer1"} <= {name.split(".")[0] for name in changed(before, run)}
        assert not any(name.startswith("critic") for name in changed(before, run))

    def test_unequal_maps_are_seen_transferred_by_the_critic(self):
        run = make_run(PAIR, toy_task(), {"peer": "teacher"})
        run.instance.critics[0] = Linear(0.7)
        step, terms = turn(run, "critic")
        own, peer = (
            run.learner.helpers[f"transfer{k}"](step.forward(network).feature_map).detach()[:, 0].mean(dim=(1, 2)) for k, network in enumerate(networks(run, 2))
        )
        torch.testing.assert_close(terms["d0"], ((1 - 0.7 * peer) ** 2 + (0.7 * own) ** 2).mean(), **CLOSE)

    @pytest.mark.parametrize("pair", [{"student": "toy-coarse"}, {"student": "toy-student", "teacher": "toy-coarse"}], ids=["student", "peer"])
    def test_unequal_grids_are_pooled_to_the_smallest_whichever_network_has_it(self, pair):
        run = make_run(LARGE, toy_task(**pair))
        step = new_step(run, update="adversarial")
        own, peer = (step.forward(network).feature_map for network in networks(run, 2))
        assert {own.shape[2:], peer.shape[2:]} == {(2, 2), (4, 4)}
        for found, feature_map, transfer in zip(run.instance.maps(step), (own, peer), (run.learner.helpers[f"transfer{k}"] for k in range(2)), strict=True):
            assert found.shape == (16, 6, 2, 2)
            torch.testing.assert_close(found, pooled(transfer.layers(feature_map), 2, 2), **CLOSE)

    @pytest.mark.parametrize("grid", [(2, 2), (3, 4), (1, 2), (5, 7)])
    def test_a_transfer_layer_averages_each_window_of_the_common_grid(self, grid):
        transfer = TransferLayer(4, 3, grid).eval()
        feature_map = torch.randn(2, 4, 5, 7)
        torch.testing.assert_close(transfer(feature_map), pooled(transfer.layers(feature_map), *grid), **CLOSE)

    def test_a_transfer_layer_is_a_convolution_of_positions_by_themselves_batch_norm_and_relu(self):
        convolution, norm, relu = TransferLayer(5, 3, None).layers
        assert (convolution.in_channels, convolution.out_channels, convolution.kernel_size, convolution.bias) == (5, 3, (1, 1), None)
        assert (type(norm), norm.num_features, type(relu)) == (nn.BatchNorm2d, 3, nn.ReLU)

    def test_a_discriminator_halves_the_grid_in_every_layer_and_the_channels_from_the_second_on(self):
        *layers, last = Discriminator(8, 3).layers
        assert [type(layer) for layer in layers] == [nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU] * 3
        assert [(one.in_channels, one.out_channels) for one in layers[::3]] == [(8, 8), (8, 4), (4, 2)]
        assert all((one.kernel_size, one.stride, one.padding, one.bias) == ((3, 3), (2, 2), (1, 1), None) for one in layers[::3])
        assert [one.num_features for one in layers[1::3]] == [8, 4, 2]
        assert {one.negative_slope for one in layers[2::3]} == {0.2}
        assert (last.in_channels, last.out_channels, last.kernel_size, last.bias is not None) == (2, 1, (1, 1), True)

    def test_a_discriminator_takes_the_mean_over_positions_before_the_sigmoid(self):
        critic = Discriminator(1, 1).eval()
        with torch.no_grad():
            critic.layers[0].weight.copy_(torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 0, 0]]))
            critic.layers[3].weight.fill_(2)
            critic.layers[3].bias.fill_(-1)
        # of every second entry -5 and 4 LeakyReLU makes -1 and 4, the last convolution -3 and 7, whose mean is 2
        value = critic(torch.tensor([[[[-5.0, 9, 4, 9]]]]))
        assert float(value.detach()) == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-4)

    @pytest.mark.parametrize("depth", [1, 2, 3])
    @pytest.mark.parametrize("side", [1, 2, 4, 8])
    def test_a_discriminator_gives_one_value_between_zero_and_one_an_image(self, depth, side):
        values = Discriminator(6, depth)(10 * torch.randn(5, 6, side, side))
        assert values.shape == (5,)
        assert float(values.min()) > 0
        assert float(values.max()) < 1

    def test_the_feature_extractor_is_everything_but_the_last_linear_layer(self):
        network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))
        assert {id(parameter) for parameter in feature_extractor(network)} == {
            id(parameter) for layer in (network[0], network[1]) for parameter in layer.parameters()
        }

    @BOTH
    def test_there_is_no_teacher_and_a_task_without_feature_maps_is_refused(self, plugin, count):
        params = plugin.method.Params()
        assert plugin.method.teachers(toy_task().card, params) == ()
        assert "it needs feature maps" in plugin.method.reason_against(toy_task(feature_maps=False).card, params)
        assert plugin.method.reason_against(toy_task().card, params) is None


@pytest.mark.parametrize("plugin", variants, ids=lambda plugin: plugin.method.name)
@pytest.mark.parametrize("networks", [2, 4])
def test_any_number_of_networks_learn_together_in_one_cycle(plugin, networks):
    run = make_run(plugin, toy_task(), {"networks": networks})
    names = list(run.learner.helpers)
    assert [sum(name.startswith(kind) for name in names) for kind in ("peer", "critic")] == [networks - 1, networks]
    terms = take_steps(run, 1)[0]
    assert [f"logit/kl{k}" in terms and f"adversarial/g{k}" in terms and f"critic/d{k}" in terms for k in range(networks + 1)] == [True] * networks + [False]
    assert all(math.isfinite(value) for value in terms.values())


@pytest.mark.parametrize(
    "wrong",
    [{"networks": 1}, {"temperature": 0.0}, {"w_kl": -1.0}, {"lr_adv": -1e-5}, {"lr_d": -1e-5}, {"wd_adv": -0.1}, {"depth": 0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_values_without_a_meaning_are_refused(wrong):
    with pytest.raises(ImpossibleValue, match=next(iter(wrong))):
        PAIR.method.Params(**wrong)


@pytest.mark.parametrize(("plugin", "count"), [(PAIR, 2), (CYCLE, 3), (LARGE, 2)], ids=["pair", "cycle", "large"])
def test_a_row_has_its_number_of_networks(plugin, count):
    assert plugin.method.Params().networks == count


@pytest.mark.parametrize(("plugin", "peer"), [(PAIR, "student"), (CYCLE, "student"), (LARGE, "teacher")], ids=["pair", "cycle", "large"])
def test_defaults_are_those_that_the_readme_names(plugin, peer):
    params = plugin.method.Params()
    assert (params.temperature, params.w_kl, params.lr_adv, params.lr_d, params.wd_adv) == (3.0, 1.0, 2e-5, 2e-5, 0.0)
    assert (params.depth, params.peer) == (2, peer)


def test_a_large_peer_has_the_teachers_architecture_and_transfer_layers_to_the_students_maps():
    task = toy_task()
    run = make_run(LARGE, task)
    count = sum(one.numel() for one in run.learner.helpers["peer1"].parameters())
    assert count == sum(one.numel() for one in task.new_network(task.card.teacher).parameters())
    assert {"transfer0", "transfer1"} <= set(run.learner.helpers)
    assert run.teacher_modules() == ()
    history = take_steps(run, 3)
    assert all(math.isfinite(value) for step in history for value in step.values())
