// The nine activations of ../reference.py with their first and second derivatives, for both compilers.
#pragma once

#include <cmath>
#include <type_traits>

#ifdef __CUDACC__
#define LATENT_REENACT_INLINE __host__ __device__ __forceinline__
#else
#define LATENT_REENACT_INLINE inline __attribute__((always_inline))
#endif

// Positions in `ACTIVATIONS`.
enum Activation { kLinear, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish };

template <typename A>
LATENT_REENACT_INLINE A exponential(A v) {
    if constexpr (std::is_same_v<A, float>) {
        return expf(v);
    } else {
        return exp(v);
    }
}

template <typename A>
LATENT_REENACT_INLINE A exponential_less_one(A v) {
    if constexpr (std::is_same_v<A, float>) {
        return expm1f(v);
    } else {
        return expm1(v);
    }
}

template <typename A>
LATENT_REENACT_INLINE A sigmoid(A v) {
    return A(1) / (A(1) + exponential(-v));
}

template <int ACT, typename A>
LATENT_REENACT_INLINE A activate(A v, A alpha) {
    constexpr A kSeluAlpha = A(1.6732632423543772848170429916717), kSeluScale = A(1.0507009873554804934193349852946);
    if constexpr (ACT == kRelu) return v > 0 ? v : v <= 0 ? A(0) : v;  // NaN stays
    if constexpr (ACT == kLrelu) return v > 0 ? v : v * alpha;
    if constexpr (ACT == kTanh) {
        if constexpr (std::is_same_v<A, float>) return tanhf(v);
        return tanh(v);
    }
    if constexpr (ACT == kSigmoid) return sigmoid(v);
    if constexpr (ACT == kElu) return v > 0 ? v : exponential_less_one(v);
    if constexpr (ACT == kSelu) return kSeluScale * (v > 0 ? v : kSeluAlpha * exponential_less_one(v));
    if constexpr (ACT == kSoftplus) {  // linear beyond 20, as torch's
        if constexpr (std::is_same_v<A, float>) return v > 20 ? v : log1pf(expf(v));
        return v > 20 ? v : log1p(exp(v));
    }
    if constexpr (ACT == kSwish) return v * sigmoid(v);
    return v;
}

template <int ACT, typename A>
LATENT_REENACT_INLINE A slope(A v, A alpha) {
    constexpr A kSeluAlpha = A(1.6732632423543772848170429916717), kSeluScale = A(1.0507009873554804934193349852946);
    if constexpr (ACT == kRelu) return v > 0 ? A(1) : A(0);
    if constexpr (ACT == kLrelu) return v > 0 ? A(1) : alpha;
    if constexpr (ACT == kTanh) {
        const A t = activate<kTanh>(v, alpha);
        return A(1) - t * t;
    }
    if constexpr (ACT == kSigmoid) {
        const A s = sigmoid(v);
        return s * (A(1) - s);
    }
    if constexpr (ACT == kElu) return v > 0 ? A(1) : exponential(v);
    if constexpr (ACT == kSelu) return kSeluScale * (v > 0 ? A(1) : kSeluAlpha * exponential(v));
    if constexpr (ACT == kSoftplus) return v > 20 ? A(1) : sigmoid(v);
    if constexpr (ACT == kSwish) {
        const A s = sigmoid(v);
        return s * (A(1) + v * (A(1) - s));
    }
    return A(1);
}

template <int ACT, typename A>
LATENT_REENACT_INLINE A curvature(A v, A alpha) {
    constexpr A kSeluAlpha = A(1.6732632423543772848170429916717), kSeluScale = A(1.0507009873554804934193349852946);
    if constexpr (ACT == kTanh) {
        const A t = activate<kTanh>(v, alpha);
        return A(-2) * t * (A(1) - t * t);
    }
    if constexpr (ACT == kSigmoid) {
        const A s = sigmoid(v);
        return s * (A(1) - s) * (A(1) - A(2) * s);
    }
    if constexpr (ACT == kElu) return v > 0 ? A(0) : exponential(v);
    if constexpr (ACT == kSelu) return v > 0 ? A(0) : kSeluScale * kSeluAlpha * exponential(v);
    if constexpr (ACT == kSoftplus) {
        const A s = sigmoid(v);
        return v > 20 ? A(0) : s * (A(1) - s);
    }
    if constexpr (ACT == kSwish) {
        const A s = sigmoid(v);
        return s * (A(1) - s) * (A(2) + v * (A(1) - A(2) * s));
    }
    return A(0);
}

// The operator for one value: v = x + bias; clamp < 0 means none. Orders as in ../dispatch.py.
template <int ACT, typename A>
LATENT_REENACT_INLINE A activation(A v, A grad, int order, A alpha, A gain, A clamp) {
    if (order == 0) {
        const A y = activate<ACT>(v, alpha) * gain;
        if (clamp < 0) return y;
        return y > clamp ? clamp : y < -clamp ? -clamp : y;
    }
    const A y = (order == 1 ? slope<ACT>(v, alpha) : curvature<ACT>(v, alpha)) * grad * gain;
    if (clamp < 0) return y;
    const A value = activate<ACT>(v, alpha) * gain;
    return value > clamp || value < -clamp ? A(0) : y;
}

// Calls function(std::integral_constant<int, act>{}); false where there is no such activation.
template <typename Function>
bool with_activation(int act, Function function) {
    switch (act) {
        case kLinear: function(std::integral_constant<int, kLinear>{}); return true;
        case kRelu: function(std::integral_constant<int, kRelu>{}); return true;
        case kLrelu: function(std::integral_constant<int, kLrelu>{}); return true;
        case kTanh: function(std::integral_constant<int, kTanh>{}); return true;
        case kSigmoid: function(std::integral_constant<int, kSigmoid>{}); return true;
        case kElu: function(std::integral_constant<int, kElu>{}); return true;
        case kSelu: function(std::integral_constant<int, kSelu>{}); return true;
        case kSoftplus: function(std::integral_constant<int, kSoftplus>{}); return true;
        case kSwish: function(std::integral_constant<int, kSwish>{}); return true;
        default: return false;
    }
}
