// What both CPU operators need. No header of PyTorch: a plain C interface, built in seconds.
#pragma once

#include <cstdint>
#include <cstring>

// dtype codes of ../native.py
enum Dtype { kFloat32 = 0, kFloat64 = 1, kBFloat16 = 2 };

struct BFloat16 {
    uint16_t bits;  // the upper half of a float
};

inline float widen(float v) { return v; }
inline double widen(double v) { return v; }
inline float widen(BFloat16 v) {
    const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
    float out;
    std::memcpy(&out, &bits, sizeof out);
    return out;
}

inline void narrow(float v, float& out) { out = v; }
inline void narrow(double v, double& out) { out = v; }
inline void narrow(float v, BFloat16& out) {  // to nearest, ties to even
    uint32_t bits;
    std::memcpy(&bits, &v, sizeof bits);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    out.bits = static_cast<uint16_t>(v == v ? rounded : 0x7fc0u);
}

template <typename T>
using acc_t = decltype(widen(T{}));

// Calls function(T{}) with the type of a dtype code; false where there is none.
template <typename Function>
bool with_dtype(int dtype, Function function) {
    switch (dtype) {
        case kFloat32: function(float{}); return true;
        case kFloat64: function(double{}); return true;
        case kBFloat16: function(BFloat16{}); return true;
        default: return false;
    }
}

// Calls function(begin, end) on every thread, with its part of [0, n).
template <typename Function>
void share(int64_t n, int threads, Function function) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; ++part) function(n * part / threads, n * (part + 1) / threads);
}
