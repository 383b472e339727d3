// What follows a convolution of StyleGAN2's synthesis in training on CPUs, and its gradient, each in one pass over
// memory (../scaled.py defines it): demodulation, noise, bias, leaky ReLU; or a modulation alone.
//
// Everything lies channels_last. Arithmetic in float, 16 channels at a time.

#include <algorithm>

#include "vectors.h"

namespace {

constexpr int kPixels = 64;  // at a time, of all channels: they stay in the first cache

struct Problem {
    int64_t pixels;
    int c;
    const float* scale;  // [b, c]
    const float* bias;  // [c], or nullptr
    const float* noise;  // [pixels], every `noise_step` numbers for the next sample, its strength included; or nullptr
    int64_t noise_step;
    float slope, gain;  // both 1: linear
};

// Calls block(lanes, first channel, how many) for every 16 channels, and for what is left.
template <typename Function>
inline void blocks(int c, Function block) {
    int at = 0;
    for (; at + kLanes <= c; at += kLanes) block(All{}, at, kLanes);
    if (at < c) block(Some{}, at, c - at);
}

template <typename T>
void forward(const Problem& p, int64_t sample, const T* x, T* y) {
    const float *scales = p.scale + sample * p.c, *noise = p.noise ? p.noise + sample * p.noise_step : nullptr;
    for (int64_t begin = 0; begin < p.pixels; begin += kPixels) {
        const int64_t end = std::min(begin + kPixels, p.pixels);
        blocks(p.c, [&](auto lanes, int c, int n) {
            constexpr int N = lanes.value;
            const Floats scale = load<N>(scales + c, n), bias = p.bias ? load<N>(p.bias + c, n) : Floats{};
            for (int64_t i = begin; i < end; ++i) {
                Floats v = load<N>(x + i * p.c + c, n) * scale + (noise ? bias + noise[i] : bias);
                v = (v > 0 ? v : v * p.slope) * p.gain;
                store<N>(v, y + i * p.c + c, n);
            }
        });
    }
}

// d_scale, d_bias: [c] of this sample. d_noise: [pixels] of this sample, or nullptr.
template <typename T>
void backward(const Problem& p, int64_t sample, const T* grad, const T* x, const T* y, T* dx, float* d_scale,
              float* d_bias, float* d_noise) {
    const float* scales = p.scale + sample * p.c;
    std::fill(d_scale, d_scale + p.c, 0.0f);
    std::fill(d_bias, d_bias + p.c, 0.0f);
    for (int64_t begin = 0; begin < p.pixels; begin += kPixels) {
        const int64_t end = std::min(begin + kPixels, p.pixels);
        if (d_noise) std::fill(d_noise + begin, d_noise + end, 0.0f);
        blocks(p.c, [&](auto lanes, int c, int n) {
            constexpr int N = lanes.value;
            const Floats scale = load<N>(scales + c, n), high = Floats{} + p.gain, low = high * p.slope;
            Floats by_scale{}, by_bias{};
            for (int64_t i = begin; i < end; ++i) {
                const int64_t at = i * p.c + c;
                Floats g = load<N>(grad + at, n);
                if (y) g *= load<N>(y + at, n) > 0 ? high : low;
                by_bias += g;
                by_scale += g * load<N>(x + at, n);
                if (d_noise) d_noise[i] += sum(g);
                store<N>(g * scale, dx + at, n);
            }
            store<N>(load<N>(d_scale + c, n) + by_scale, d_scale + c, n);
            store<N>(load<N>(d_bias + c, n) + by_bias, d_bias + c, n);
        });
    }
}

}  // namespace

// x and y [b, pixels, c] of `dtype` (float32 or bfloat16), all else float. Returns nullptr, or what went wrong.
extern "C" const char* scaled(const void* x, void* y, int dtype, int b, int64_t pixels, int c, const float* scale,
                              const float* bias, const float* noise, int64_t noise_step, float slope, float gain,
                              int threads) {
    const Problem p{pixels, c, scale, bias, noise, noise_step, slope, gain};
    const auto run = [&](auto zero) {
        using T = decltype(zero);
        const int64_t size = pixels * c;
        share(b, std::min(threads, b), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                forward(p, i, static_cast<const T*>(x) + i * size, static_cast<T*>(y) + i * size);
        });
    };
    if (dtype == kFloat32) run(float{});
    else if (dtype == kBFloat16) run(BFloat16{});
    else return "unknown dtype";
    return nullptr;
}

// The gradient. y: what `scaled` returned, or nullptr where it was linear. dx: like x; d_scale, d_bias [b, c];
// d_noise [b, pixels] or nullptr.
extern "C" const char* scaled_grad(const void* grad, const void* x, const void* y, void* dx, int dtype, int b,
                                   int64_t pixels, int c, const float* scale, float slope, float gain, float* d_scale,
                                   float* d_bias, float* d_noise, int threads) {
    const Problem p{pixels, c, scale, nullptr, nullptr, 0, slope, gain};
    const auto run = [&](auto zero) {
        using T = decltype(zero);
        const int64_t size = pixels * c;
        share(b, std::min(threads, b), [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) {
                const T* of_y = y ? static_cast<const T*>(y) + i * size : nullptr;
                backward(p, i, static_cast<const T*>(grad) + i * size, static_cast<const T*>(x) + i * size, of_y,
                         static_cast<T*>(dx) + i * size, d_scale + i * c, d_bias + i * c,
                         d_noise ? d_noise + i * pixels : nullptr);
            }
        });
    };
    if (dtype == kFloat32) run(float{});
    else if (dtype == kBFloat16) run(BFloat16{});
    else return "unknown dtype";
    return nullptr;
}
