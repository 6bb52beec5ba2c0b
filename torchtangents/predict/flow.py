"""Training in function space, by the train-train kernel: gradient flow and gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .check import require_choice, require_number, require_times
from .dynamics import Dynamics
from .gram import Diagonal, Gram
from .objective import Loss, require_loss
from .outputs import Outputs
from .path import FlowState, Path
from .persistence import Persistent, pack, require_entry, unpack
from .prediction import Flow


class GradientFlow(Persistent):
    """The outputs of one network while it is trained, with a constant tangent kernel, on any loss.

    df/dt = -learning_rate K grad L(f). For L = 1/2 mean((f - y)^2), in closed form with s = learning_rate t / y.size,
    train: f(t) = f_0 - (I - e^{-Ks}) (f_0 - y),   test: f*(t) = f*_0 - K* K^-1 (I - e^{-Ks}) (f_0 - y),
    and (I - learning_rate K / y.size)^t for e^{-Ks} where method="descent".

    Args:
        k_train_train: (N, N) tangent kernel of the training points, the same for every output, or (N, N, O, O) with one
            pair (O, O) for each output axis, zipped as in neural-tangents; analytic, empirical or any other.
        y_train: (N, *O) targets.
        loss: "mse"; "cross_entropy", -mean(y log_softmax(fx)) with class probabilities on the last axis of y, the mean over
            samples and classes (torch's own averages over samples alone: pass F.cross_entropy for that); or
            loss(fx, y) -> 0-dim tensor, called in float64 on all training points, of the shape of y_train each.
        learning_rate: step size.
        momentum: m of heavy-ball momentum in [0, 1). The flow is dq/du = (m - 1) / sqrt(learning_rate) q - K grad L(f),
            df/du = q, u = sqrt(learning_rate) t (not Nesterov's); 0 is the first-order flow above, which neural-tangents
            calls None.
        diag_reg: regulariser added to K's diagonal, a number or 0-dim tensor, relative to the diagonal's mean.
        diag_reg_absolute_scale: diag_reg is in the kernel's own units.
        noise: (N,) variances added to K's diagonal, one a training point.
        method: "flow", continuous time, or "descent", t steps of gradient descent, as torch.optim.SGD takes them.
        trace_axes: axes of y_train that the kernel lacks; needed where it lacks some and has others.
        jitter: allow a singular kernel at t=None: `jitter_added` says what its diagonal got, a JitterWarning too.
        rtol, atol: tolerances of the solver (dopri5) where there is no closed form.

    Raises:
        TypeError, ValueError: sizes, dtypes or devices that do not fit, NaN, a matrix that is not symmetric.

    Jacot, Gabriel and Hongler 2018 (arXiv 1806.07572); Lee et al. 2019 (arXiv 1902.06720).

    Example:
        >>> import torch, torchtangents as tt
        >>> k = torch.tensor([[2., 1.], [1., 2.]])
        >>> flow = tt.predict.GradientFlow(k, torch.tensor([1., -1.]))
        >>> train, test = flow.at(t=2., k_test_train=torch.tensor([[1., 0.]]))
        >>> train, test
        (tensor([ 0.6321, -0.6321]), tensor([0.6321]))
    """

    _shown = ("loss", "method", "learning_rate", "momentum")

    def __init__(
        self,
        k_train_train: Tensor,
        y_train: Tensor,
        *,
        loss: Loss = "mse",
        learning_rate: float = 1.0,
        momentum: float = 0.0,
        diag_reg: float | Tensor = 0.0,
        diag_reg_absolute_scale: bool = False,
        noise: Tensor | None = None,
        method: str = "flow",
        trace_axes: Sequence[int] | None = None,
        jitter: bool = False,
        rtol: float = 1e-7,
        atol: float = 1e-9,
    ):
        require_choice("method", method, ("flow", "descent"))
        self.method = method
        self.learning_rate = require_number("learning_rate", learning_rate, positive=True)
        self.momentum = require_number("momentum", momentum)
        if self.momentum >= 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {momentum!r}.")
        self.rtol, self.atol = (require_number(n, v, positive=True) for n, v in (("rtol", rtol), ("atol", atol)))
        self._outputs = Outputs(k_train_train, y_train, trace_axes)
        diagonal = Diagonal(diag_reg, diag_reg_absolute_scale, noise, jitter)
        self.gram = Gram(self._outputs.matrix(k_train_train), diagonal, points=len(y_train))
        self.y_train = y_train.clone()
        self.loss = require_loss(loss, self.y_train)
        y = self._outputs.rows(self.y_train.double())  # (R, C)
        rates = self.learning_rate, self.momentum
        self._dynamics = Dynamics(self.gram, self._outputs, y, self.loss, *rates, method, self.rtol, self.atol)

    def at(
        self,
        t: float | Tensor | None = None,
        fx_train_0: float | Tensor | None = 0.0,
        fx_test_0: float | Tensor | None = None,
        k_test_train: Tensor | None = None,
    ) -> Flow:
        """Outputs at time `t` as (train, test): (*T, N, *O), (*T, M, *O).

        Args:
            t: training time in steps, a number or a tensor whose shape T leads the results, in any order; None is
                infinity, for the loss "mse" alone, where the training outputs are y_train.
            fx_train_0: outputs at t = 0 on the training points, a number or as y_train; None starts at zero and leaves
                `train` None.
            fx_test_0: outputs at t = 0 on the test points, a number or (M, *O); None is zero.
            k_test_train: (M, N) tangent kernel, or (M, N, O, O); None leaves `test` None.

        Raises:
            SingularKernelError: infinite time and a singular kernel, or any time and an indefinite one; names a `diag_reg`
                that works.
            ArithmeticError: descent diverges, or the solver cannot keep its tolerances.
            TypeError, ValueError: a negative or infinite time, sizes that do not fit, fx_test_0 without k_test_train.
        """
        times = require_times(t, self.y_train.device, steps=self.method == "descent")
        cross = None if k_test_train is None else self._outputs.require_cross(k_test_train)  # (M P, N P)
        if cross is None and fx_test_0 is not None:
            raise ValueError("fx_test_0 was given without k_test_train; pass k_test_train = ntk(x_test, x_train).")
        if cross is None and fx_train_0 is None:
            raise ValueError("nothing to compute: fx_train_0 is None and k_test_train too; pass one of them.")
        start = self._start("fx_train_0", fx_train_0, len(self.y_train))
        path = self._path(times, start, None)
        train = test = None
        if fx_train_0 is not None:
            train = self.y_train.clone() if times is None else self._shaped(path.fx, times.shape)
        if cross is not None and k_test_train is not None:
            fx_test = self._start("fx_test_0", fx_test_0, len(k_test_train))
            test = self._shaped(fx_test + cross @ path.weights, () if times is None else times.shape)
        return Flow(train, test)

    def advance(self, t: float, state: FlowState | None = None, k_test_train: Tensor | None = None) -> FlowState:
        """Train on from `state`, to time `t` since the beginning; the state then, from which one can go on.

        Args:
            t: a time >= state.t.
            state: of an earlier call, or FlowState(fx_train, fx_test) to begin with; None is FlowState().
            k_test_train: as in `at`, needed where state.fx_test is not None.

        Raises:
            ValueError: a time before that of the state, test outputs without their kernel, velocities without momentum.
        """
        state = FlowState() if state is None else state
        until = require_times(t, self.y_train.device)
        if until is None or until.ndim or float(until) < state.t:
            raise ValueError(f"t: expected one finite time >= that of the state, {state.t:g}, got {t!r}.")
        if (state.fx_test is None) != (k_test_train is None):
            raise ValueError("advance: expected both state.fx_test and k_test_train, or neither, got one of them.")
        if self.momentum == 0 and (state.qx_train is not None or state.qx_test is not None):
            raise ValueError("state: has velocities qx_train or qx_test, but momentum is 0.")
        start = self._start("state.fx_train", state.fx_train, len(self.y_train))
        velocity = None if state.qx_train is None else self._start("state.qx_train", state.qx_train, len(self.y_train))
        times = require_times(until[None] - state.t, self.y_train.device, steps=self.method == "descent")
        path = self._path(times, start, velocity)
        fx_test = qx_test = None
        if k_test_train is not None:
            cross = self._outputs.require_cross(k_test_train)
            fx_test = self._start("state.fx_test", state.fx_test, len(k_test_train)) + cross @ path.weights[0]
            if path.impulse is not None and path.carry is not None and path.kept is not None:
                before = self._start("state.qx_test", state.qx_test, len(k_test_train))
                fx_test = fx_test + path.carry * before
                qx_test = self._outputs.shaped(path.kept * before + cross @ path.impulse[0])
            fx_test = self._outputs.shaped(fx_test)
        qx_train = None if path.qx is None else self._outputs.shaped(path.qx[0])
        return FlowState(self._outputs.shaped(path.fx[0]), fx_test, qx_train, qx_test, float(until))

    @property
    def jitter_added(self) -> float:
        """What the kernel's diagonal got so far beyond what was asked for, in units of the kernel."""
        return self.gram.jitter

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but a callable loss, with the factors computed so far, as a flat dictionary of tensors."""
        names = "learning_rate", "momentum", "method", "rtol", "atol"
        options = {name: getattr(self, name) for name in names}
        options["loss"] = None if callable(self.loss) else self.loss
        options["trace_axes"] = list(self._outputs.traced)
        k = self._outputs.unmatrix(self.gram.plain.to(self.gram.dtype))
        tensors = {"k_train_train": k, "y_train": self.y_train} | self.gram.tensors()
        return pack("GradientFlow", options | self.gram.options(), tensors)

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor], *, loss: Loss | None = None) -> GradientFlow:
        """The flow that was saved; `loss` is the callable where there was one, which a state cannot hold.

        Raises:
            ValueError: the state of another class or version, tensors that do not fit, no loss where one is needed.
        """
        options, tensors = unpack("GradientFlow", state)
        saved = options.pop("loss")
        if (saved is None) != callable(loss):
            wanted = "the callable that it was made with" if saved is None else "None"
            raise ValueError(f"loss: the state has {saved or 'a callable'}; expected {wanted}, got {loss!r}.")
        jitter = options.pop("jitter_added")
        k, y = (require_entry(tensors, name) for name in ("k_train_train", "y_train"))
        flow = cls(k, y, loss=loss if saved is None else saved, noise=tensors.get("noise"), **options)
        flow.gram.adopt(tensors, jitter)
        return flow

    def _needs(self) -> dict[str, Any]:
        return {"loss": self.loss} if callable(self.loss) else {}

    def _path(self, times: Tensor | None, start: Tensor, velocity: Tensor | None) -> Path:
        """The solution at flat times (T,), or at infinity."""
        return self._dynamics.limit(start) if times is None else self._dynamics.path(times.reshape(-1), start, velocity)

    def _start(self, name: str, value: float | Tensor | None, points: int) -> Tensor:
        return self._outputs.require_like(name, 0.0 if value is None else value, points, state=name.startswith("state."))

    def _shaped(self, rows: Tensor, lead: Sequence[int]) -> Tensor:
        outputs = self._outputs.shaped(rows)  # (T, M, *O)
        return outputs.reshape(*lead, *outputs.shape[1:]).to(self.gram.dtype)
