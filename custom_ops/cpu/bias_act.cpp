// clamp(act(x + bias) * gain) on CPUs and its first two derivatives, in one pass over memory.
// The formulas stand in ../activations.h, which CUDA shares.

#include <algorithm>

#include "../activations.h"
#include "common.h"

namespace {

constexpr int64_t kWorthAThread = 1 << 15;  // values

struct Problem {
    const void* x;
    const void* bias;  // or nullptr
    const void* grad;  // order 1 and 2
    void* y;
    int64_t n, step, size;  // the element at i takes bias[i / step % size]
    double alpha, gain, clamp;
};

// n elements from `first`: element i takes bias(i).
template <typename T, int ACT, int ORDER, typename Bias>
inline void run(const Problem& p, int64_t first, int64_t n, Bias bias) {
    using A = acc_t<T>;
    const T* __restrict__ x = static_cast<const T*>(p.x) + first;
    const T* __restrict__ grad = ORDER ? static_cast<const T*>(p.grad) + first : nullptr;
    T* __restrict__ y = static_cast<T*>(p.y) + first;
    const A alpha = static_cast<A>(p.alpha), gain = static_cast<A>(p.gain), clamp = static_cast<A>(p.clamp);
    for (int64_t i = 0; i < n; ++i) {
        const A g = ORDER ? widen(grad[ORDER ? i : 0]) : A(0);
        narrow(activation<ACT>(widen(x[i]) + bias(i), g, ORDER, alpha, gain, clamp), y[i]);
    }
}

template <typename T, int ACT, int ORDER>
void part(const Problem& p, int64_t begin, int64_t end) {
    using A = acc_t<T>;
    const T* __restrict__ b = static_cast<const T*>(p.bias);
    if (b == nullptr) return run<T, ACT, ORDER>(p, begin, end - begin, [](int64_t) { return A(0); });
    const int64_t period = p.step == 1 ? p.size : p.step;  // a run of all channels, or of one
    for (int64_t i = begin; i < end;) {
        const int64_t n = std::min(end, (i / period + 1) * period) - i;
        if (p.step == 1) {
            const T* __restrict__ from = b + i % period;
            run<T, ACT, ORDER>(p, i, n, [from](int64_t k) { return widen(from[k]); });
        } else {
            const A one = widen(b[i / period % p.size]);
            run<T, ACT, ORDER>(p, i, n, [one](int64_t) { return one; });
        }
        i += n;
    }
}

template <typename T, int ACT>
void every(const Problem& p, int order, int64_t begin, int64_t end) {
    if (order == 0) return part<T, ACT, 0>(p, begin, end);
    if (order == 1) return part<T, ACT, 1>(p, begin, end);
    part<T, ACT, 2>(p, begin, end);
}

}  // namespace

// Returns nullptr, or what went wrong. Arguments: the protocol of ../dispatch.py; x, grad, y of `dtype` and of n values.
extern "C" const char* bias_act(const void* x, const void* bias, const void* grad, void* y, int dtype, int64_t n,
                                int64_t step, int64_t size, int order, int act, double alpha, double gain, double clamp,
                                int threads, void*) {
    const Problem p{x, bias, grad, y, n, step, size, alpha, gain, clamp};
    threads = static_cast<int>(std::clamp<int64_t>(n / kWorthAThread, 1, threads));
    bool known = false;
    const bool typed = with_dtype(dtype, [&](auto zero) {
        using T = decltype(zero);
        known = with_activation(act, [&](auto which) {
            share(n, threads, [&](int64_t begin, int64_t end) { every<T, which.value>(p, order, begin, end); });
        });
    });
    if (!typed) return "unknown dtype";
    return known ? nullptr : "unknown activation";
}
