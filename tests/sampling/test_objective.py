import pytest
import torch
from torch import nn

from devtrack.errors import DataError, MetricError
from devtrack.sampling._objective import Objective
from devtrack.sampling._user_loss import allow_gradients


def _mlp(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)


def _batches(num=3, size=5, dtype=torch.float64):
    torch.manual_seed(1)
    return [
        (torch.randn(size, 3, dtype=dtype), torch.randn(size, 2, dtype=dtype)) for _ in range(num)
    ]


def _loss(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(-1)  # (batch,)


def _naive(model, weights, batch):
    """Loss and flat gradient through the module itself, the slow and obvious way."""
    nn.utils.vector_to_parameters(weights, model.parameters())
    model.zero_grad()
    value = _loss(model, batch).mean()
    value.backward()
    return value.detach(), torch.cat([p.grad.reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda model, batch: 1.5, "returned 1.5"),
        (lambda batch, model: _loss(model, batch), "raised TypeError"),
    ],
    ids=["a number", "swapped"],
)
def test_a_loss_of_the_wrong_kind_is_refused_with_an_explanation(wrong, said):
    objective = Objective(_mlp(), wrong, _batches())
    with pytest.raises(MetricError, match=f"the loss {said}.* a tensor, as a function of .model, "):
        objective.loss(objective.anchor, 0)


def _points(objective, num_chains=4):
    generator = torch.Generator().manual_seed(2)
    shape = (num_chains, objective.num_parameters)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return objective.anchor + 0.3 * noise


def test_one_point_agrees_with_plain_autograd():
    model, batches = _mlp(), _batches()
    objective = Objective(model, _loss, batches)
    point = _points(objective)[0]
    gradient = torch.empty_like(point)
    value = objective.gradient(point, 1, out=gradient)
    expected, expected_gradient = _naive(_mlp(), point, batches[1])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    torch.testing.assert_close(objective.loss(point, 1), expected)


def test_all_points_at_once_agree_with_one_at_a_time():
    objective = Objective(_mlp(), _loss, _batches())
    points = _points(objective)
    looked_at = torch.tensor([2, 0, 1, 2])
    gradients = torch.empty_like(points)
    values = objective.gradients(points, looked_at, out=gradients)
    for chain, batch in enumerate(looked_at.tolist()):
        alone = torch.empty_like(points[0])
        value = objective.gradient(points[chain], batch, out=alone)
        torch.testing.assert_close(values[chain], value)
        torch.testing.assert_close(gradients[chain], alone)
    torch.testing.assert_close(
        objective.losses(points, 1), torch.stack([objective.loss(p, 1) for p in points])
    )


def test_the_model_is_left_alone():
    model = _mlp()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    objective = Objective(model, _loss, _batches())
    points = _points(objective)
    objective.gradients(points, torch.zeros(4, dtype=torch.int64), out=torch.empty_like(points))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_parameters_stay_and_are_not_counted():
    model = _mlp()
    model[0].requires_grad_(False)
    objective = Objective(model, _loss, _batches())
    assert objective.num_parameters == 4 * 2 + 2
    assert [slot.name for slot in objective.slices] == ["model.2.weight", "model.2.bias"]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3, bias=False).double()
        self.second = nn.Linear(3, 3, bias=False).double()
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def test_tied_weights_count_once_and_move_together():
    torch.manual_seed(0)
    model = Tied()
    x = torch.randn(4, 3, dtype=torch.float64)
    objective = Objective(model, lambda m, batch: m(batch).square().sum(), [x])
    assert objective.num_parameters == 9
    point = torch.randn(2, 9, dtype=torch.float64)
    gradients = torch.empty_like(point)
    values = objective.gradients(point, torch.zeros(2, dtype=torch.int64), out=gradients)
    matrix = point[0].view(3, 3).requires_grad_()
    expected = (x @ matrix.T @ matrix.T).square().sum()
    (expected_gradient,) = torch.autograd.grad(expected, matrix)
    torch.testing.assert_close(values[0], expected.detach())
    torch.testing.assert_close(gradients[0], expected_gradient.reshape(-1))


class Twice(nn.Module):
    """One layer under two names, its bias tied to another layer's; two buffers that are one."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 3).double()
        self.again = self.first
        self.last = nn.Linear(3, 3, bias=False).double()
        self.last.bias = self.first.bias
        self.register_buffer("scale", torch.full((1,), 2.0, dtype=torch.float64))
        self.last.register_buffer("scale", self.scale)

    def forward(self, x):
        return self.last.scale * self.last(self.again(self.first(x)))


def test_a_layer_under_two_names_moves_once_and_is_left_alone():
    torch.manual_seed(0)
    model = Twice()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(4, 3, dtype=torch.float64)
    objective = Objective(model, lambda m, batch: m(batch).square().sum(), [x])
    point = torch.randn(9 + 3 + 9, dtype=torch.float64)  # weight, bias, last weight
    weight, bias, last = point[:9].view(3, 3), point[9:12], point[12:].view(3, 3)
    once = x @ weight.T + bias
    expected = (2 * ((once @ weight.T + bias) @ last.T + bias)).square().sum()
    torch.testing.assert_close(objective.loss(point, 0), expected)
    torch.testing.assert_close(model.state_dict(), before)


def test_a_parameter_that_the_loss_does_not_use_has_gradient_zero():
    model = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)]).double()
    x = torch.ones(4, 3, dtype=torch.float64)
    objective = Objective(model, lambda m, batch: m[1](batch).sum(), [x])
    stale = torch.full((2, 8), 9.0, dtype=torch.float64)
    points = objective.anchor.repeat(2, 1)
    objective.gradients(points, torch.zeros(2, dtype=torch.int64), out=stale)
    assert (stale[:, :4] == 0).all()
    assert (stale[:, 4:] == 4).all()


class Counting(nn.Module):
    """Writes into a buffer at every call, and its output depends on it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def forward(self, x):
        self.calls += 1
        return x * self.weight * self.calls


@pytest.mark.parametrize("at_once", [False, True])
def test_buffers_that_a_forward_writes_are_put_back(at_once):
    model = Counting()
    objective = Objective(model, lambda m, x: m(x).sum(), [torch.ones(2, dtype=torch.float64)])
    zero = torch.zeros(1, dtype=torch.int64)
    for _ in range(3):
        if at_once:
            points = objective.anchor.repeat(1, 1)
            value = objective.gradients(points, zero, out=torch.empty_like(points))[0]
        else:
            value = objective.loss(objective.anchor, 0)
        assert value == 2.0
    assert model.calls == 0


def test_half_precision_models_are_sampled_in_single_precision():
    model = _mlp(torch.bfloat16)
    objective = Objective(model, _loss, _batches(dtype=torch.bfloat16))
    assert objective.anchor.dtype == torch.float32
    points = objective.anchor.repeat(2, 1)
    gradients = torch.empty_like(points)
    values = objective.gradients(points, torch.tensor([0, 1]), out=gradients)
    assert values.dtype == torch.float32
    assert torch.isfinite(gradients).all()


def test_no_batch_is_refused():
    with pytest.raises(DataError, match=r"0 batches.*at least 1.*data="):
        Objective(_mlp(), _loss, [])


def test_nothing_to_sample_is_refused():
    model = _mlp().requires_grad_(False)
    with pytest.raises(
        MetricError, match=r"no parameter that requires grad.*requires_grad_\(True\)"
    ):
        Objective(model, _loss, _batches())


def test_a_loss_that_ignores_the_weights_is_refused():
    objective = Objective(_mlp(), lambda m, b: b[0].sum(), _batches())
    point = objective.anchor
    with pytest.raises(MetricError, match="does not depend on the model's weights"):
        objective.gradient(point, 0, out=torch.empty_like(point))


def test_a_part_of_the_weights_equals_all_with_the_rest_fixed():
    """Naive twin: the full objective, read and differentiated at the sampled elements only."""
    batches, mask = _batches(), torch.zeros(4, 3, dtype=torch.bool)
    mask[1:3] = True
    whole = Objective(_mlp(), _loss, batches)
    part = Objective(_mlp(), _loss, batches, parts={"0.weight": mask, "2.bias": None})
    assert part.num_parameters == 6 + 2
    sampled = torch.cat([mask.reshape(-1), torch.zeros(4 + 8), torch.ones(2)]).bool()
    points = _points(part)
    around = whole.anchor.repeat(len(points), 1)
    around[:, sampled] = points
    looked_at = torch.tensor([0, 1, 2, 0])
    gradient, expected = torch.empty_like(points), torch.empty_like(around)
    values = part.gradients(points, looked_at, out=gradient)
    torch.testing.assert_close(values, whole.gradients(around, looked_at, out=expected))
    torch.testing.assert_close(gradient, expected[:, sampled])
    alone = torch.empty_like(points[0])
    torch.testing.assert_close(part.gradient(points[0], 0, out=alone), values[0])
    torch.testing.assert_close(alone, gradient[0])


def test_what_a_pass_saves_grows_with_the_batch_and_leaves_weights_out():
    """Closed form: tanh keeps its output and the second layer its input, the same tensor."""
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()

    def saved(size):
        batch = torch.randn(size, 3).double()
        return Objective(model, lambda m, x: m(x).sum(), [batch]).saved_bytes()

    assert saved(7) == 7 * 4 * 8
    assert saved(70) == 10 * saved(7)


def test_bf16_rounds_the_products_and_nothing_else():
    # 8 binary digits: a product is off by 2^-9 at most, a chain of three by about 1 %.
    single = torch.float32
    batches = _batches(dtype=single)
    full = Objective(_mlp(single), _loss, batches)
    rounded = Objective(_mlp(single), _loss, batches, precision="bf16")
    points = _points(full).float()
    looked_at = torch.tensor([2, 0, 1, 2])
    exact, near = torch.empty_like(points), torch.empty_like(points)
    expected = full.gradients(points, looked_at, out=exact)
    values = rounded.gradients(points, looked_at, out=near)
    assert values.dtype is near.dtype is single
    torch.testing.assert_close(values, expected, rtol=0.02, atol=0)
    assert (near - exact).norm() < 0.02 * exact.norm()
    assert (near - exact).norm() > 1e-4 * exact.norm()  # single precision would be below 1e-6
    torch.testing.assert_close(near[0], _gradient(rounded, points[0], 2), rtol=0.02, atol=0.02)


def _gradient(objective, point, batch):
    gradient = torch.empty_like(point)
    objective.gradient(point, batch, out=gradient)
    return gradient


def _residual(model, batch):
    """Of du/dx = y, as a physics-informed network is trained."""
    x = batch[0].clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (slope.sum(1) - batch[1].sum(1)).square()


def _penalised(model, batch):
    loss = _loss(model, batch).mean()
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    return loss + sum(g.square().sum() for g in gradients)


@pytest.mark.parametrize("loss", [_residual, _penalised])
def test_a_loss_may_differentiate_inside(loss):
    model, batches = _mlp(), _batches()
    objective = Objective(model, loss, batches)
    expected = loss(model, batches[1]).mean().detach()
    with torch.no_grad():
        torch.testing.assert_close(objective.loss(objective.anchor, 1), expected)
    torch.testing.assert_close(
        objective.gradient(objective.anchor, 1, out=torch.empty_like(objective.anchor)), expected
    )


def test_no_graph_is_kept_where_no_gradient_is_asked_for():
    asked = []

    def spying(model, batch):
        value = _loss(model, batch).mean()
        asked.append(value.requires_grad)
        return value

    for parts in (None, {"2.bias": None}):
        objective = Objective(_mlp(), spying, _batches(), parts=parts)
        objective.loss(objective.anchor, 0)
        objective.losses(objective.anchor.repeat(2, 1), 0)
    assert asked == [False] * 4


def test_gradients_are_allowed_to_a_loss_and_left_to_its_caller():
    model, batches = _mlp(), _batches()
    loss = allow_gradients(_residual)
    with torch.no_grad():
        alone = loss(model, batches[0])
        assert not torch.is_grad_enabled()
    assert not alone.requires_grad
    asked = loss(model, batches[0])
    assert asked.requires_grad
    torch.testing.assert_close(asked.detach(), alone)


class Complex(nn.Module):
    def __init__(self, is_complex):
        super().__init__()
        pair = torch.randn(5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        self.odd = nn.Parameter(
            pair[0, :1].clone()
        )  # so that the complex one starts at an odd place
        if is_complex:
            self.weight = nn.Parameter(torch.view_as_complex(pair.clone()))
        else:
            self.real, self.imag = (
                nn.Parameter(pair[:, 0].clone()),
                nn.Parameter(pair[:, 1].clone()),
            )

    def forward(self, x):
        weight = self.weight if hasattr(self, "weight") else torch.complex(self.real, self.imag)
        return torch.fft.irfft(torch.fft.rfft(x) * weight, n=8) * self.odd


def _fourier_loss(model, batch):
    return (model(batch) - 1).square().mean()


@pytest.mark.parametrize("chains", [None, 3])
def test_a_complex_weight_is_two_real_ones(chains):
    batch = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for is_complex in (True, False):
        objective = Objective(Complex(is_complex), _fourier_loss, [batch])
        assert objective.num_parameters == 11
        weights = objective.anchor + 0.1
        if chains is None:
            out = torch.empty_like(weights)
            value = objective.gradient(weights, 0, out=out)
        else:
            weights = weights.repeat(chains, 1)
            out = torch.empty_like(weights)
            value = objective.gradients(weights, torch.zeros(chains, dtype=torch.long), out=out)
        if is_complex:  # (re, im) pairs beside all real parts, then all imaginary ones
            pairs = out[..., 1:].unflatten(-1, (5, 2))
            out = torch.cat([out[..., :1], pairs[..., 0], pairs[..., 1]], dim=-1)
        found.append((value, out))
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_sparse_gradient_is_a_gradient(sparse):
    torch.manual_seed(0)
    model = nn.Embedding(6, 2, sparse=sparse)
    objective = Objective(model, lambda m, b: m(b).square().sum(-1).mean(), [torch.tensor([1, 4])])
    out = torch.empty_like(objective.anchor)
    objective.gradient(objective.anchor, 0, out=out)
    expected = torch.zeros(6, 2)
    expected[[1, 4]] = model.weight.detach()[[1, 4]]
    torch.testing.assert_close(out, expected.flatten())


def test_a_parameter_without_dimensions_is_sampled():
    model = nn.Linear(2, 1)
    model.scale = nn.Parameter(torch.tensor(2.0))
    batch = torch.ones(3, 2)
    objective = Objective(model, lambda m, b: (m(b) * m.scale).mean(), [batch])
    assert objective.num_parameters == 4
    weights = objective.anchor.repeat(2, 1)
    values = objective.losses(weights, 0)
    torch.testing.assert_close(values, (model(batch) * 2).mean().detach().expand(2))


def test_parameters_that_are_one_memory_are_sampled_once():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 2, bias=False)})
    model["b"].weight = nn.Parameter(model["a"].weight.data)
    batch = torch.ones(1, 2)
    objective = Objective(model, lambda m, b: m["b"](m["a"](b)).sum(), [batch])
    assert objective.num_parameters == 4
    zero = torch.zeros_like(objective.anchor)
    assert float(objective.loss(zero, 0)) == 0.0


def test_views_that_do_not_overlap_are_parameters_of_their_own():
    both = torch.arange(6.0).reshape(2, 3)
    model = nn.ParameterDict({"left": both[:, :1], "right": both[:, 1:]})
    objective = Objective(model, lambda m, b: (m["left"] * m["right"]).sum(), [torch.ones(1)])
    assert objective.anchor.tolist() == [0, 3, 1, 2, 4, 5]


def test_parameters_that_share_a_part_of_their_memory_are_refused():
    model = nn.ModuleDict({"a": nn.Linear(2, 2, bias=False), "b": nn.Linear(2, 1, bias=False)})
    model["b"].weight = nn.Parameter(model["a"].weight.data[:1])
    with pytest.raises(MetricError, match=r"'a\.weight' and 'b\.weight' share a part"):
        Objective(model, lambda m, b: m["b"](m["a"](b)).sum(), [torch.ones(1, 2)])
