"""Update rules: each against its published formula written out, lazy steps against dense ones, schedules, refusals."""

import math

import numpy as np
import pytest

from blockdot.errors import SpecError
from blockdot.solvers.schedules import Constant, Cosine, InverseScaling, Warmup
from blockdot.solvers.updates import (
    FTRL,
    AdaGrad,
    Adam,
    At,
    Average,
    Clip,
    ClipNorm,
    Decay,
    Descend,
    Momentum,
    adagrad,
    adam,
    adamw,
    chain,
    sgd,
)

STEPS, SIZE = 40, 6
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, SIZE))


def run(rule, gradients=GRADIENTS, w=None, penalized=1.0, share=1.0):
    """The parameters after each step; all are touched by all steps."""
    w = np.zeros(gradients.shape[1]) if w is None else w
    slots, found = rule.init(At(w, 1, penalized)), []
    for t, g in enumerate(gradients, 1):
        u, slots = rule.update(g, slots, At(w, t, penalized, share))
        w = w + u
        found.append(w)
    return np.array(found), slots


def written_out(formula, gradients=GRADIENTS):
    """The same for one number after another: ``formula`` is a generator function of the gradients of a parameter."""
    return np.array([list(formula(column)) for column in gradients.T]).T


def plain(gs, rate=0.1):
    w = 0.0
    for g in gs:
        w -= rate * g
        yield w


def heavy_ball(gs, rate=0.1, beta=0.9):
    w = v = 0.0
    for g in gs:
        v = beta * v - rate * g
        w += v
        yield w


def nesterov(gs, rate=0.1, beta=0.9):
    w = v = 0.0
    for g in gs:
        v = beta * v - rate * g
        w += beta * v - rate * g
        yield w


def ada_grad(gs, rate=0.1):
    w = total = 0.0
    for g in gs:
        total += g * g
        w -= rate * g / (math.sqrt(total) + 1e-10)
        yield w


def adam_of_the_paper(gs, rate=0.01, b1=0.9, b2=0.999, alpha=0.0, decoupled=0.0):
    w = m = v = 0.0
    for t, g in enumerate(gs, 1):
        g = g + alpha * w
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w -= rate * (m / (1 - b1**t) / (math.sqrt(v / (1 - b2**t)) + 1e-8) + decoupled * w)
        yield w


def ftrl_of_the_paper(gs, alpha=0.2, beta=0.5, l1=0.3, l2=0.7):
    """McMahan et al. 2013, algorithm 1: w is made of z and n when it is needed, before the gradient is."""
    z = n = 0.0

    def weight():
        if abs(z) <= l1:
            return 0.0
        return -(z - math.copysign(l1, z)) / ((beta + math.sqrt(n)) / alpha + l2)

    for g in gs:
        w = weight()
        sigma = (math.sqrt(n + g * g) - math.sqrt(n)) / alpha
        z, n = z + g - sigma * w, n + g * g
        yield weight()


PUBLISHED = {
    "gradient descent": (sgd(0.1), plain),
    "momentum": (sgd(0.1, momentum=0.9), heavy_ball),
    "Nesterov": (sgd(0.1, momentum=0.9, nesterov=True), nesterov),
    "AdaGrad": (adagrad(0.1), ada_grad),
    "Adam": (adam(0.01), adam_of_the_paper),
    "Adam, L2": (adam(0.01, alpha=0.3), lambda gs: adam_of_the_paper(gs, alpha=0.3)),
    "AdamW": (adamw(0.01, alpha=0.3), lambda gs: adam_of_the_paper(gs, decoupled=0.3)),
    "FTRL": (FTRL(0.2, 0.5, 0.3, 0.7), ftrl_of_the_paper),
    "FTRL, no penalty": (FTRL(0.2, 0.5), lambda gs: ftrl_of_the_paper(gs, l1=0.0, l2=0.0)),
    "FTRL, L1": (FTRL(0.2, 0.5, 2.0), lambda gs: ftrl_of_the_paper(gs, l1=2.0, l2=0.0)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_each_rule_is_its_published_formula(name):
    rule, formula = PUBLISHED[name]
    np.testing.assert_allclose(run(rule)[0], written_out(formula), rtol=1e-12, atol=1e-15)


def test_l1_of_ftrl_gives_exact_zeros_and_beta_0_divides_by_nothing():
    path, _ = run(FTRL(0.2, 0.5, l1=4.0))
    assert np.any(path == 0.0)
    assert np.any(path != 0.0)
    still, _ = run(FTRL(0.2, 0.0), np.zeros((2, 3)))
    assert np.array_equal(still, np.zeros((2, 3)))


def test_ftrl_goes_on_from_where_it_is_started():
    w, rule = np.array([0.5, -2.0, 0.0]), FTRL(0.2, 0.5, 0.3, 0.7)
    slots = rule.init(At(w, 1, np.array([1.0, 0.0, 1.0])))
    u, _ = rule.update(np.zeros(3), slots, At(w, 1, np.array([1.0, 0.0, 1.0])))
    np.testing.assert_allclose(u, 0.0, atol=1e-15)


def test_ftrl_with_a_penalty_a_step_is_the_leader_of_all_steps():
    """Its w minimises Σ g·w + t α (ρ|w| + (1−ρ)/2 w²) + β/2η w² + ½ Σ σₛ (w − wₛ)², σₛ = (√nₛ − √nₛ₋₁)/η."""
    rule, g = FTRL(0.2, 0.5, alpha=0.15, l1_ratio=0.4), GRADIENTS[:, 0]
    path = np.concatenate([[0.0], run(rule)[0][:, 0]])
    sigma = np.diff(np.sqrt(np.concatenate([[0.0], np.cumsum(g**2)]))) / 0.2
    grid = np.linspace(-2.0, 2.0, 400_001)
    for t in (1, 7, STEPS):
        total = grid * g[:t].sum() + t * 0.15 * (0.4 * np.abs(grid) + 0.3 * grid**2) + 0.5 / 0.4 * grid**2
        total += 0.5 * sigma[:t].sum() * grid**2 - grid * np.sum(sigma[:t] * path[:t])
        assert path[t] == pytest.approx(grid[np.argmin(total)], abs=2e-5)


def test_a_growing_penalty_reaches_what_was_not_touched_at_the_end():
    rule = FTRL(0.2, 0.5, alpha=0.15, l1_ratio=0.4)
    gradients, touched = sparse_gradients()
    path, _ = run(rule, gradients, np.zeros(SIZE))
    w, slots = np.zeros(SIZE), [np.zeros(SIZE), np.zeros(SIZE)]
    for t, (g, own) in enumerate(zip(gradients, touched, strict=True), 1):
        u, after = rule.update(g[own], tuple(slot[own] for slot in slots), At(w[own], t))
        w[own] += u
        for slot, now in zip(slots, after, strict=True):
            slot[own] = now
    assert not np.array_equal(w, path[-1])
    late = rule.result(tuple(slots), At(w, STEPS))
    assert np.array_equal(late == 0.0, path[-1] == 0.0)
    np.testing.assert_allclose(late, path[-1], atol=0.1)


def test_what_is_not_penalised_is_that_of_no_penalty():
    p = np.array([1.0, 0.0] * (SIZE // 2))
    for make in (lambda a: FTRL(0.2, 0.5, a, a), lambda a: adagrad(0.1, alpha=a), lambda a: adamw(0.1, alpha=a)):
        (some, _), (all_, _), (none, _) = run(make(0.4), penalized=p), run(make(0.4)), run(make(0.0))
        np.testing.assert_array_equal(some[:, 1::2], none[:, 1::2])
        np.testing.assert_array_equal(some[:, ::2], all_[:, ::2])


def test_clipping():
    g = np.array([3.0, -4.0, 0.5])
    assert np.array_equal(Clip(1.0).update(g, (), At(g))[0], [1.0, -1.0, 0.5])
    u, _ = ClipNorm(2.0).update(g, (), At(g))
    np.testing.assert_allclose(u, g * 2.0 / np.linalg.norm(g))
    assert np.array_equal(ClipNorm(9.0).update(g, (), At(g))[0], g)
    np.testing.assert_array_equal(
        run(chain(Clip(0.5), Descend(Constant(0.1))))[0], run(sgd(0.1), np.clip(GRADIENTS, -0.5, 0.5))[0]
    )


@pytest.mark.parametrize("after", [0, 7, STEPS, STEPS + 5])
def test_the_average_is_the_mean_of_the_path(after):
    rule = chain(sgd(InverseScaling(0.3)), Average(after))
    path, slots = run(rule, w=np.ones(SIZE))
    expected = path[after:].mean(axis=0) if after < STEPS else path[-1]
    np.testing.assert_allclose(rule.result(slots, At(path[-1], STEPS)), expected, rtol=1e-12)


# ---- lazy steps


def lazily(rule, gradients, touched, **more):
    """Each step is given only what it touches; w and the slots of the others are not looked at."""
    w = np.full(gradients.shape[1], 0.1)
    slots = [slot.copy() for slot in rule.init(At(w, 1, **more))]
    for t, (g, own) in enumerate(zip(gradients, touched, strict=True), 1):
        u, after = rule.update(g[own], tuple(slot[own] for slot in slots), At(w[own], t, **more))
        w[own] += u
        for slot, now in zip(slots, after, strict=True):
            slot[own] = now
    return rule.result(tuple(slots), At(w, len(gradients), **more))


def sparse_gradients(share=0.3, steps=STEPS, size=SIZE, seed=1):
    rng = np.random.default_rng(seed)
    touched = rng.random((steps, size)) < share
    return np.where(touched, rng.normal(size=(steps, size)), 0.0), touched


NOTHING_TO_BE_LAZY_ABOUT = {
    "sgd": sgd(0.1),
    "AdaGrad": adagrad(InverseScaling(0.1)),
    "FTRL": FTRL(0.2, 0.5, 0.3, 0.7),
    "clipped": chain(Clip(0.5), ClipNorm(0.7), Descend(Constant(0.1))),
    "averaged": chain(adagrad(0.1), Average(3)),
    "averaged FTRL": chain(FTRL(0.2, 0.5, 0.1), Average()),
}


@pytest.mark.parametrize("name", NOTHING_TO_BE_LAZY_ABOUT)
def test_lazy_is_dense_where_a_gradient_of_0_does_nothing(name):
    rule = NOTHING_TO_BE_LAZY_ABOUT[name]
    gradients, touched = sparse_gradients()
    path, slots = run(rule, gradients, np.full(SIZE, 0.1))
    dense = rule.result(slots, At(path[-1], STEPS))
    np.testing.assert_allclose(lazily(rule, gradients, touched), dense, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("rule", [Momentum(0.9), Momentum(0.9, nesterov=True), Adam()], ids=str)
def test_what_fades_lives_by_the_steps_that_touch_it(rule):
    full = chain(rule, Descend(Constant(0.1)))
    gradients, touched = sparse_gradients()
    lazy = lazily(full, gradients, touched)
    for j in range(SIZE):
        own = gradients[touched[:, j]][:, [j]]
        np.testing.assert_allclose(lazy[j], run(full, own, np.array([0.1]))[0][-1, 0], rtol=1e-12)


def test_lazy_decay_is_that_of_the_penalty_in_the_mean():
    """Over many draws of which steps touch a parameter, its decay is that of every step, to first order in the rate."""
    share, steps, draws, alpha, rate = np.array([0.02, 0.3, 1.0]), 200, 4000, 0.5, 1e-3
    rng, ends = np.random.default_rng(2), np.zeros(3)
    rule = sgd(rate, alpha=alpha)
    for _ in range(draws):
        w = np.ones(3)
        times = rng.binomial(steps, share)
        for j, (n, q) in enumerate(zip(times, share, strict=True)):
            u, _ = rule.update(np.zeros(1), (), At(w[j : j + 1], 1, 1.0, q))
            w[j] *= (1.0 + u[0] / w[j]) ** n
        ends += w / draws
    np.testing.assert_allclose(ends, (1 - rate * alpha) ** steps, rtol=5e-3)


def test_rules_write_to_nothing_that_they_are_given():
    for rule in (
        sgd(0.1, momentum=0.9, alpha=0.1),
        adagrad(),
        adamw(alpha=0.1),
        FTRL(l1=0.1),
        chain(sgd(1.0), Average()),
    ):
        w, g = np.ones(3), np.full(3, 2.0)
        slots = rule.init(At(w))
        assert len(slots) == rule.slots
        for array in (w, g, *slots):
            array.flags.writeable = False
        _, after = rule.update(g, slots, At(w, 2))
        assert len(after) == rule.slots


# ---- schedules


def test_schedules():
    assert [Constant(0.3)(t) for t in (1, 50)] == [0.3, 0.3]
    assert [InverseScaling(0.4)(t) for t in (1, 4, 16)] == [0.4, 0.2, 0.1]
    wave = Cosine(2.0, 100, floor=0.1)
    assert (wave(1), wave(101), wave(1000)) == (2.0, pytest.approx(0.2), pytest.approx(0.2))
    assert wave(51) == pytest.approx(1.1)
    rise = Warmup(10, Constant(1.0))
    np.testing.assert_allclose([rise(1), rise(5), rise(10), rise(99)], [0.1, 0.5, 1.0, 1.0])
    path, _ = run(sgd(InverseScaling(0.4)))
    np.testing.assert_allclose(path[-1], -np.sum(0.4 / np.sqrt(np.arange(1, STEPS + 1))[:, None] * GRADIENTS, axis=0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constant(0.0), "rate is 0.0; needed a finite number above 0"),
        (lambda: InverseScaling(0.1, -1.0), "power is -1.0; needed a finite number of at least 0"),
        (lambda: Cosine(0.1, 0), "steps is 0; needed a whole number of at least 1"),
        (lambda: Cosine(0.1, 5, 2.0), "floor is 2.0; needed a share of the rate"),
        (lambda: Warmup(0, Constant(1.0)), "steps is 0"),
        (lambda: Momentum(1.0), "beta is 1.0; needed a number from 0 to below 1"),
        (lambda: Adam(beta2=-0.1), "beta2 is -0.1"),
        (lambda: AdaGrad(0.0), "epsilon is 0.0; needed a finite number above 0"),
        (lambda: Decay(math.nan), "alpha is nan; needed a finite number of at least 0"),
        (lambda: FTRL(-0.1), "rate is -0.1"),
        (lambda: FTRL(l1=-1.0), "l1 is -1.0; needed a finite number of at least 0"),
        (lambda: Clip(0.0), "limit is 0.0"),
        (lambda: ClipNorm(math.inf), "limit is inf"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(SpecError, match=message.replace("(", "\\(")):
        make()
