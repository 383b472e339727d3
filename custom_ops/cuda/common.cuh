// What both CUDA operators need: packs of values that move as one access, and arithmetic in float (double for double).
// No header of PyTorch: the libraries speak a plain C interface, build in seconds and suit every version of it.
#pragma once

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

// dtype codes of ../native.py
enum Dtype { kFloat32 = 0, kFloat64 = 1, kBFloat16 = 2, kFloat16 = 3 };

template <typename T>
struct Arithmetic {
    using type = float;
};
template <>
struct Arithmetic<double> {
    using type = double;
};
template <typename T>
using acc_t = typename Arithmetic<T>::type;

__device__ __forceinline__ float widen(float v) { return v; }
__device__ __forceinline__ double widen(double v) { return v; }
__device__ __forceinline__ float widen(__half v) { return __half2float(v); }
__device__ __forceinline__ float widen(__nv_bfloat16 v) { return __bfloat162float(v); }

__device__ __forceinline__ void narrow(float v, float& out) { out = v; }
__device__ __forceinline__ void narrow(double v, double& out) { out = v; }
__device__ __forceinline__ void narrow(float v, __half& out) { out = __float2half_rn(v); }
__device__ __forceinline__ void narrow(float v, __nv_bfloat16& out) { out = __float2bfloat16_rn(v); }

// V values that are loaded and stored together.
template <typename T, int V>
struct alignas(sizeof(T) * V) Pack {
    T v[V];
};

template <typename T, int V>
__device__ __forceinline__ Pack<T, V> load_pack(const T* p) {
    return *reinterpret_cast<const Pack<T, V>*>(p);
}

template <typename T, int V>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, V>& pack) {
    *reinterpret_cast<Pack<T, V>*>(p) = pack;
}

// Calls function(T{}) with the type of a dtype code.
template <typename Function>
cudaError_t with_dtype(int dtype, Function function) {
    switch (dtype) {
        case kFloat32: return function(float{});
        case kFloat64: return function(double{});
        case kBFloat16: return function(__nv_bfloat16{});
        case kFloat16: return function(__half{});
        default: return cudaErrorInvalidValue;
    }
}

inline bool aligned(const void* p, size_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }
