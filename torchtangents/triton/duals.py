"""Expectations of functions of two Gaussians in Triton: K <- E f f', Theta <- Theta E f' f'.

x, y: standard deviations; k: covariance; t: tangent; e: half the squared distance, (x^2 + y^2) / 2 - k, where it is carried.
Formulas and accuracies are those of csrc/duals.hpp; torchtangents/covariance is the oracle of their tests.
"""

import triton
import triton.language as tl

PI = tl.constexpr(3.14159265358979323846)
# theta / h for h = tan(theta / 2), u = h^2 in [0, 1]: minimax for theta / pi, 2.4e-8
RATIO = tl.constexpr(
    (1.99999869, -0.666597188, 0.398931324, -0.278172582, 0.192843914, -0.111824602, 0.043725878, -0.00810912438)
)
# (2 - theta / h) / u: minimax for u^(3/2) times it, 3.2e-8; in double precision by Chebyshev interpolation, 2.3e-15
BEND = tl.constexpr((0.666633606, -0.399259895, 0.27956149, -0.195959628, 0.115646154, -0.0461463481, 0.00872839615))
BEND_WIDE = tl.constexpr((
    0.666666666666664368, -0.399999999998508228, 0.285714285552506928, -0.222222215227803158, 0.18181802130347735,
    -0.153843895935253628, 0.133312122785110261, -0.117506322178817638, 0.104577334245169428, -0.0927126756032151135,
    0.0797734924927378278, -0.0639244920403649052, 0.0452518294661633519, -0.0266810191194703959, 0.0122802759056994897,
    -0.00406933454156766147, 0.000854368194763506802, -0.0000847687621895902092,
))  # fmt: skip


@triton.jit
def horner(u, C: tl.constexpr, n: tl.constexpr):
    """C[0] + u C[1] + .. + u^(n-1) C[n-1]."""
    p = tl.zeros_like(u) + C[n - 1]
    for i in tl.static_range(1, n):
        p = p * u + C[n - 1 - i]
    return p


@triton.jit
def bend(u, WIDE: tl.constexpr):
    """(2 - theta / h) / u."""
    if WIDE:
        p = horner(u, BEND_WIDE, 18)
    else:
        p = horner(u, BEND, 7)
    return p


@triton.jit
def ratio(u, WIDE: tl.constexpr):
    """theta / h."""
    if WIDE:
        p = 2.0 - u * bend(u, WIDE)
    else:
        p = horner(u, RATIO, 8)
    return p


@triton.jit
def root(near, total, WIDE: tl.constexpr):
    """h = sqrt(near / total), and h^2. WIDE 2: double precision of what fits single, where one Newton step of each of two
    approximations leaves 1e-13, and neither a division nor a root is called."""
    if WIDE == 2:
        r = tl.rsqrt(tl.maximum(total.to(tl.float32), 1.2e-38))
        inverse = (r * r).to(tl.float64)
        u = near * (inverse + inverse * (1.0 - total * inverse))
        s = tl.rsqrt(tl.maximum(u.to(tl.float32), 1.2e-38)).to(tl.float64)
        h = u * s
        h += 0.5 * s * (u - h * h)
    elif WIDE:
        u = near / total
        h = tl.sqrt(u)
    else:
        h = tl.sqrt(near) * tl.rsqrt(total)
        u = h * h
    return h, u


@triton.jit
def angle(x, y, k, e, EXACT: tl.constexpr, WIDE: tl.constexpr):
    """m = x y, a = |k|, a + m, m - a, and h = tan(theta / 2), h^2 of the acute angle; inputs of length 0 have angle 0."""
    m = x * y
    a = tl.abs(k)
    if WIDE:
        total = m + (a + 1e-300)
    else:
        total = m + (a + 1.2e-38)
    near = m - a
    if EXACT:  # close pairs from the distance; parallel inputs of different lengths are parallel
        gap = tl.abs(x - y)
        close = e - gap * gap * 0.5
        if WIDE:
            noise = gap * (x + y) * 1.7763568394002505e-15
        else:
            noise = gap * (x + y) * 9.5367432e-07
        close = tl.where(close > noise, close, 0.0)
        near = tl.where(near < k, tl.minimum(close, m), tl.maximum(near, 0.0))
    elif WIDE:  # equal but for rounding: flat ground, positions that circular padding repeats
        near = tl.where(near > total * 1.7763568394002505e-15, near, 0.0)
    else:
        near = tl.maximum(near, 0.0)
    h, u = root(near, total, WIDE)
    return m, a, total, near, h, u


@triton.jit
def relu(c, x, y, k, t, e, FOLDED: tl.constexpr, NTK: tl.constexpr, EXACT: tl.constexpr, WIDE: tl.constexpr):
    """a min(x, 0) + b max(x, 0), over `bend` where that is folded into what follows. c = {level / bend, bend}"""
    level = tl.load(c).to(k.dtype)
    if FOLDED:
        factor = 1.0
    else:
        factor = tl.load(c + 1).to(k.dtype)
    return relu_core(level, factor, x, y, k, t, e, NTK, EXACT, WIDE)


@triton.jit
def relu_core(level, factor, x, y, k, t, e, NTK: tl.constexpr, EXACT: tl.constexpr, WIDE: tl.constexpr):
    """The same from its two numbers: `level` over `bend`, and 1 for `factor` where what follows multiplies by `bend`."""
    _, a, total, near, h, u = angle(x, y, k, e, EXACT, WIDE)
    if EXACT:  # with M = m (sin theta - theta cos theta): k' = level k + M, e' = level e - M
        curve = u * bend(u, WIDE)
        acute = h * (2.0 - curve)
        chord = h * (near + a * curve)
        theta = tl.where(k < 0, PI - acute, acute)
        chord = tl.where(k < 0, chord + a * PI, chord)
        if NTK:
            t = t * (level - theta) * factor
        k = (level * k + chord) * factor
        e = tl.maximum(level * e - chord, 0.0) * factor
    else:
        acute = h * ratio(u, WIDE)
        slope = tl.where(k < 0, level - (PI - acute), level - acute)
        k = (k * slope + total * h) * factor
        if NTK:
            t = t * slope * factor
    return k, t, e


@triton.jit
def sign(x, y, k, t, e, NTK: tl.constexpr, EXACT: tl.constexpr, WIDE: tl.constexpr):
    """sign(x): E f f' = 1 - 2 theta / pi; nothing below it trains."""
    _, _, _, _, h, u = angle(x, y, k, e, EXACT, WIDE)
    acute = h * ratio(u, WIDE)
    theta = tl.where(k < 0, PI - acute, acute)
    both = (x > 0) & (y > 0)
    some = (tl.where(x > 0, 0.5, 0.0) + tl.where(y > 0, 0.5, 0.0)).to(k.dtype)
    if EXACT:
        e = tl.where(both, theta * (2 / PI), some)
    k = tl.where(both, 1.0 - theta * (2 / PI), 0.0)
    if NTK:
        t = tl.zeros_like(t)
    return k, t, e


@triton.jit
def arctangent(z):
    """atan, 1e-15."""
    a = tl.abs(z)
    h = tl.where(a > 1.0, 1.0 / a, a)
    w = h * ratio(h * h, True) * 0.5
    value = tl.where(a > 1.0, PI / 2 - w, w)
    return tl.where(z < 0, -value, value)


@triton.jit
def sine(x, y, k):
    """x y sin(theta)."""
    m = x * y
    return tl.sqrt(tl.maximum(m - k, 0.0) * tl.maximum(m + k, 0.0))


@triton.jit
def erf(c, x, y, k, t, NTK: tl.constexpr):
    """a erf(b x) + c. c = {2 b^2, (2 / pi) a^2, c^2, (4 / pi) a^2 b^2}"""
    rate = tl.load(c)
    s = rate * sine(x, y, k)
    r = tl.sqrt(1.0 + rate * (x * x + y * y) + s * s)
    if NTK:
        t = t * (tl.load(c + 3) / r)
    return tl.load(c + 1) * arctangent(rate * k / r) + tl.load(c + 2), t


@triton.jit
def gelu(x, y, k, t, NTK: tl.constexpr):
    """x Phi(x)."""
    v1 = x * x
    v2 = y * y
    left = 1.0 / (1.0 + v1)
    right = 1.0 / (1.0 + v2)
    s = sine(x, y, k)
    r = tl.sqrt(1.0 + v1 + v2 + s * s)
    q = k / r
    turn = arctangent(q)
    both = (v1 * left) * (v2 * right)
    if NTK:
        t = t * (0.25 + (turn + q * (1.0 + (2.0 + q * q) * left * right - both)) * (0.5 / PI))
    return 0.25 * k + (k * turn + (k * left) * right * q + both * r) * (0.5 / PI), t


@triton.jit
def wave(c, x, y, k, t, NTK: tl.constexpr):
    """a sin(b x + c). c = {a^2 / 2, b^2, cos(2 c)}"""
    level = tl.load(c)
    rate = tl.load(c + 1)
    half = rate * 0.5 * (x * x + y * y)  # exponents are positive by rounding only
    near = tl.exp(tl.minimum(rate * k - half, 0.0))
    far = tl.load(c + 2) * tl.exp(tl.minimum(-rate * k - half, 0.0))
    if NTK:
        t = t * (level * rate * (near + far))
    return level * (near - far), t


@triton.jit
def rbf(c, x, y, k, t, NTK: tl.constexpr):
    """sqrt(2) sin(sqrt(2 gamma) x + pi / 4). c = {gamma}"""
    gamma = tl.load(c)
    k = tl.exp(tl.minimum(gamma * (2.0 * k - x * x - y * y), 0.0))
    if NTK:
        t = t * (2.0 * gamma * k)
    return k, t
