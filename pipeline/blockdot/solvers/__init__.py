"""Solvers: from an objective's functions to a minimum.

    state₀ = init(objective, w₀),   stateₖ₊₁ = step(objective, stateₖ)        until minimize says stop

A solver sees an objective's functions and float64 vectors, nothing else: no rows, no blocks, no sparse matrices. It
holds settings only; all that changes is in its state, an immutable named tuple, so that a checkpoint is the state.

| what is minimised | solvers |
| --- | --- |
| F, smooth | ``NewtonCG``, ``NewtonCholesky``, ``LBFGS``, ``Backtracking``, ``GradientDescent`` |
| F + R, R an L1 penalty, bounds, or both | ``ProximalNewton``, ``OWLQN`` |
| F + R, any R with a prox | ``ProximalGradient`` |
"""

from __future__ import annotations

from blockdot.solvers.gradient_descent import Backtracking, BacktrackingState, GradientDescent
from blockdot.solvers.lbfgs import LBFGS, LBFGSState
from blockdot.solvers.line_search import Accepted, NoStep, Reason, StrongWolfe
from blockdot.solvers.minimize import PointState, Result, Smooth, Solver, State, Status, TracePoint, minimize
from blockdot.solvers.newton_cg import NewtonCG, NewtonCGState, TwiceSmooth
from blockdot.solvers.newton_cholesky import NewtonCholesky, WithHessian
from blockdot.solvers.owlqn import OWLQN, OWLQNState
from blockdot.solvers.proximal_gradient import ProximalGradient, ProximalGradientState
from blockdot.solvers.proximal_newton import CurvedComposite, ProximalNewton, ProximalNewtonState
from blockdot.solvers.term import Composite, Face, Term

__all__ = [
    "LBFGS",
    "OWLQN",
    "Accepted",
    "Backtracking",
    "BacktrackingState",
    "Composite",
    "CurvedComposite",
    "Face",
    "GradientDescent",
    "LBFGSState",
    "NewtonCG",
    "NewtonCGState",
    "NewtonCholesky",
    "NoStep",
    "OWLQNState",
    "PointState",
    "ProximalGradient",
    "ProximalGradientState",
    "ProximalNewton",
    "ProximalNewtonState",
    "Reason",
    "Result",
    "Smooth",
    "Solver",
    "State",
    "Status",
    "StrongWolfe",
    "Term",
    "TracePoint",
    "TwiceSmooth",
    "WithHessian",
    "minimize",
]
