// clamp(act(x + bias) * gain) on CUDA and its first two derivatives: one read and one write a value, 16 bytes at a time.
// The formulas stand in ../activations.h, which the CPU shares.

#include "../activations.h"
#include "common.cuh"

namespace {

constexpr int kThreads = 256;

struct Problem {
    const void* x;
    const void* bias;  // or nullptr
    const void* grad;  // order 1 and 2
    void* y;
    int64_t n, step, size;  // the element at i takes bias[i / step % size]
    int order;
    double alpha, gain, clamp;
};

template <typename T, int ACT, int V, typename Index>
__global__ void __launch_bounds__(kThreads) bias_act_kernel(const Problem p) {
    using A = acc_t<T>;
    const Index first = (static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x) * V;
    if (first >= static_cast<Index>(p.n)) return;
    const int count = static_cast<Index>(p.n) - first < V ? static_cast<int>(p.n - first) : V;
    const T* x = static_cast<const T*>(p.x) + first;
    const T* grad = static_cast<const T*>(p.grad) + first;
    const T* bias = static_cast<const T*>(p.bias);
    const Index step = static_cast<Index>(p.step), size = static_cast<Index>(p.size);
    const A alpha = static_cast<A>(p.alpha), gain = static_cast<A>(p.gain), clamp = static_cast<A>(p.clamp);

    Pack<T, V> in = {}, grads = {}, out;
    if (count == V) {
        in = load_pack<T, V>(x);
        if (p.order) grads = load_pack<T, V>(grad);
    } else {
        for (int v = 0; v < count; ++v) in.v[v] = x[v];
        if (p.order)
            for (int v = 0; v < count; ++v) grads.v[v] = grad[v];
    }
    A b[V] = {};
    if (bias != nullptr) {
        if (step % V == 0) {  // one channel for the whole pack
            const A one = widen(bias[first / step % size]);
#pragma unroll
            for (int v = 0; v < V; ++v) b[v] = one;
        } else if (step == 1 && size % V == 0) {  // V channels side by side
            const T* begin = bias + first % size;
#pragma unroll
            for (int v = 0; v < V; ++v) b[v] = widen(begin[v]);
        } else {
            for (int v = 0; v < count; ++v) b[v] = widen(bias[(first + v) / step % size]);
        }
    }
#pragma unroll
    for (int v = 0; v < V; ++v)
        narrow(activation<ACT>(widen(in.v[v]) + b[v], widen(grads.v[v]), p.order, alpha, gain, clamp), out.v[v]);
    T* y = static_cast<T*>(p.y) + first;
    if (count == V) {
        store_pack<T, V>(y, out);
    } else {
        for (int v = 0; v < count; ++v) y[v] = out.v[v];
    }
}

template <typename T, int ACT, int V>
void launch_packs(const Problem& p, cudaStream_t stream) {
    const int64_t per_block = static_cast<int64_t>(kThreads) * V;
    const auto blocks = static_cast<unsigned>((p.n + per_block - 1) / per_block);
    if (p.n < INT32_MAX - per_block) {
        bias_act_kernel<T, ACT, V, uint32_t><<<blocks, kThreads, 0, stream>>>(p);
    } else {
        bias_act_kernel<T, ACT, V, int64_t><<<blocks, kThreads, 0, stream>>>(p);
    }
}

template <typename T, int ACT>
void launch(const Problem& p, cudaStream_t stream) {
    constexpr int V = 16 / sizeof(T);
    if (aligned(p.x, 16) && aligned(p.y, 16) && (p.order == 0 || aligned(p.grad, 16))) {
        launch_packs<T, ACT, V>(p, stream);
    } else {
        launch_packs<T, ACT, 1>(p, stream);
    }
}

}  // namespace

// Returns nullptr, or what went wrong. Arguments: the protocol of ../dispatch.py; x, grad, y of `dtype` and of n values.
extern "C" const char* bias_act(const void* x, const void* bias, const void* grad, void* y, int dtype, int64_t n,
                                int64_t step, int64_t size, int order, int act, double alpha, double gain, double clamp,
                                int device, void* stream) {
    const Problem p{x, bias, grad, y, n, step, size, order, alpha, gain, clamp};
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) {
        error = with_dtype(dtype, [&](auto zero) {
            using T = decltype(zero);
            const bool known =
                with_activation(act, [&](auto which) { launch<T, which.value>(p, static_cast<cudaStream_t>(stream)); });
            return known ? cudaGetLastError() : cudaErrorInvalidValue;
        });
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
