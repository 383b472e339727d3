// 16 channels at a time, in float, through the vectors of GCC and Clang.
#pragma once

#include <type_traits>

#include "common.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Bits __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

// The first n of a vector's lanes; all of them where N is kLanes, which the compiler then knows.
template <int N = 0>
inline Floats load(const float* p, int n = N) {
    Floats v{};
    std::memcpy(&v, p, (N ? N : n) * sizeof *p);
    return v;
}

template <int N = 0>
inline Floats load(const BFloat16* p, int n = N) {
    Halves h{};
    std::memcpy(&h, p, (N ? N : n) * sizeof *p);
    return (Floats)(__builtin_convertvector(h, Bits) << 16);
}

template <int N = 0>
inline void store(Floats v, float* p, int n = N) {
    std::memcpy(p, &v, (N ? N : n) * sizeof *p);
}

template <int N = 0>
inline void store(Floats v, BFloat16* p, int n = N) {  // to nearest, ties to even
#ifdef __AVX512BF16__
    const auto h = _mm512_cvtneps_pbh((__m512)v);
#else
    const Bits bits = (Bits)v, rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Halves h = __builtin_convertvector((v == v) ? rounded : Bits{} + 0x7fc0u, Halves);
#endif
    std::memcpy(p, &h, (N ? N : n) * sizeof *p);
}

using All = std::integral_constant<int, kLanes>;
using Some = std::integral_constant<int, 0>;

inline float sum(Floats v) {
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)v);
#else
    float s = 0;
    for (int i = 0; i < kLanes; ++i) s += v[i];
    return s;
#endif
}
