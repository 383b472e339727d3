// What follows a 3 x 3 convolution of StyleGAN2's synthesis on CPUs, in one pass over memory (../styled.py defines it):
// FIR filter after an up-convolution, demodulation, noise, bias, leaky ReLU, clamp, the next layer's modulation, RGB.
//
// Everything lies channels_last. Arithmetic in float, 16 channels at a time, through the vectors of GCC and Clang.

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace {

constexpr int kTaps = 4, kColours = 3;
constexpr int64_t kWorthAThread = 1 << 14;  // values

struct Problem {
    const void* x;
    void* y;  // or nullptr: only the RGB is wanted
    int b, h, w, c;  // of y
    const float* taps;  // [4], or nullptr; with them x is [b, h + 1, w + 1, c]
    const float* scale;  // [b, c]
    const float* bias;  // [c]
    const float* noise;  // [h, w], every `noise_step` numbers for the next sample, or nullptr
    int64_t noise_step;
    float slope, gain, clamp;  // clamp: infinity for none
    const float* after;  // [b, c]
    float* rgb;  // [b, 3, h, w], or nullptr
    const float* before;  // [b, 3, h / 2, w / 2], up-sampled and added to rgb, or nullptr
    const float* rgb_taps;  // [4] of that
    const float* rgb_weight;  // [b, 3, c]
    const float* rgb_bias;  // [3]
    float rgb_clamp;
};

inline Floats limited(Floats v, float clamp) {
    const Floats high = Floats{} + clamp, low = Floats{} - clamp;
    v = v > high ? high : v;
    return v < low ? low : v;
}

inline Floats activated(const Problem& p, Floats v, Floats scale, Floats bias, float noise) {
    v = v * scale + (bias + noise);
    return limited((v > 0 ? v : v * p.slope) * p.gain, p.clamp);
}

inline float noise_at(const Problem& p, int sample, int row, int x) {
    return p.noise ? p.noise[sample * p.noise_step + static_cast<int64_t>(row) * p.w + x] : 0.0f;
}

// One row of the smaller picture at twice its size. u[2 i] = x[i] meets taps 0 and 2, u[2 i + 1] taps 1 and 3.
void upsampled_row(const Problem& p, const float* plane, int row, float* __restrict__ line, float* __restrict__ out) {
    const int h = p.h / 2, w = p.w / 2, odd = row & 1, above = (row >> 1) + odd - 1, below = above + 1;
    const float *f = p.rgb_taps, *rows[2] = {plane + static_cast<int64_t>(above) * w, plane + static_cast<int64_t>(below) * w};
    const float weights[2] = {above < 0 ? 0 : f[odd], below < h ? f[odd + 2] : 0};
    if (above < 0) rows[0] = rows[1];
    if (below >= h) rows[1] = rows[0];
    line[0] = line[w + 1] = 0;
    for (int x = 0; x < w; ++x) line[x + 1] = weights[0] * rows[0][x] + weights[1] * rows[1][x];
    for (int x = 0; x < w; ++x) {
        out[2 * x] = f[0] * line[x] + f[2] * line[x + 1];
        out[2 * x + 1] = f[1] * line[x + 1] + f[3] * line[x + 2];
    }
}

void begin_colours(const Problem& p, int sample, int row, float* line) {
    for (int k = 0; k < kColours; ++k) {
        const int64_t plane = static_cast<int64_t>(sample) * kColours + k;
        float* out = p.rgb + (plane * p.h + row) * p.w;
        if (p.before) {
            upsampled_row(p, p.before + plane * (p.h / 2) * (p.w / 2), row, line, out);
        } else {
            std::fill(out, out + p.w, 0.0f);
        }
    }
}

template <typename T>
void plain_row(const Problem& p, int sample, int row, float* line) {
    if (p.rgb) begin_colours(p, sample, row, line);
    const int64_t start = (static_cast<int64_t>(sample) * p.h + row) * p.w * p.c, plane = static_cast<int64_t>(p.h) * p.w;
    const T* x = static_cast<const T*>(p.x) + start;
    T* y = p.y ? static_cast<T*>(p.y) + start : nullptr;
    const float *scale = p.scale + sample * p.c, *after = p.after + sample * p.c;
    const float* weight = p.rgb ? p.rgb_weight + sample * kColours * p.c : nullptr;
    float* rgb = p.rgb ? p.rgb + sample * kColours * plane + static_cast<int64_t>(row) * p.w : nullptr;
    for (int ox = 0; ox < p.w; ++ox, x += p.c) {
        const float noise = noise_at(p, sample, row, ox);
        Floats colour[kColours] = {};
        const auto block = [&](auto lanes, int c) {
            constexpr int N = lanes.value;
            const int n = std::min(kLanes, p.c - c);
            const Floats v = activated(p, load<N>(x + c, n), load<N>(scale + c, n), load<N>(p.bias + c, n), noise);
            if (y) store<N>(v * load<N>(after + c, n), y + static_cast<int64_t>(ox) * p.c + c, n);
            if (weight)
                for (int k = 0; k < kColours; ++k) colour[k] += v * load<N>(weight + k * p.c + c, n);
        };
        int c = 0;
        for (; c + kLanes <= p.c; c += kLanes) block(All{}, c);
        if (c < p.c) block(Some{}, c);
        if (weight)
            for (int k = 0; k < kColours; ++k)
                rgb[k * plane + ox] += std::clamp(sum(colour[k]) + p.rgb_bias[k], -p.rgb_clamp, p.rgb_clamp);
    }
}

// One output row of BLOCKS * 16 channels from c on (N = 0: of what is left, less than 16): a window of four columns, each four rows filtered, moves along x.
template <typename T, int BLOCKS, int N>
void filtered_channels(const Problem& p, int sample, int row, int c, const T* const (&rows)[kTaps]) {
    const int n = std::min(kLanes, p.c - c);
    Floats scale[BLOCKS], bias[BLOCKS], after[BLOCKS], window[kTaps][BLOCKS];
    for (int k = 0; k < BLOCKS; ++k) {
        const int at = c + k * kLanes;
        scale[k] = load<N>(p.scale + sample * p.c + at, n);
        bias[k] = load<N>(p.bias + at, n);
        after[k] = load<N>(p.after + sample * p.c + at, n);
    }
    const auto column = [&](int ix, Floats (&out)[BLOCKS]) {
        const int64_t at = static_cast<int64_t>(ix) * p.c + c;
        for (int k = 0; k < BLOCKS; ++k) {
            out[k] = Floats{};
            if (ix > p.w) continue;
            for (int i = 0; i < kTaps; ++i) out[k] += p.taps[i] * load<N>(rows[i] + at + k * kLanes, n);
        }
    };
    for (int k = 0; k < BLOCKS; ++k) window[0][k] = Floats{};  // the column left of the picture
    column(0, window[1]);
    column(1, window[2]);
    T* y = static_cast<T*>(p.y) + (static_cast<int64_t>(sample) * p.h + row) * p.w * p.c + c;
    for (int ox = 0; ox < p.w; ++ox, y += p.c) {
        column(ox + 2, window[3]);
        const float noise = noise_at(p, sample, row, ox);
        for (int k = 0; k < BLOCKS; ++k) {
            Floats v = p.taps[0] * window[0][k];
            for (int j = 1; j < kTaps; ++j) v += p.taps[j] * window[j][k];
            store<N>(activated(p, v, scale[k], bias[k], noise) * after[k], y + k * kLanes, n);
            for (int j = 1; j < kTaps; ++j) window[j - 1][k] = window[j][k];
        }
    }
}

template <typename T>
void filtered_row(const Problem& p, int sample, int row, const T* zeros) {
    const int64_t pitch = static_cast<int64_t>(p.w + 1) * p.c;
    const T* plane = static_cast<const T*>(p.x) + sample * pitch * (p.h + 1);
    const T* rows[kTaps];
    for (int i = 0; i < kTaps; ++i) {
        const int iy = row + i - 1;
        rows[i] = iy < 0 || iy > p.h ? zeros : plane + iy * pitch;
    }
    int c = 0;
    for (; c + 2 * kLanes <= p.c; c += 2 * kLanes) filtered_channels<T, 2, kLanes>(p, sample, row, c, rows);
    for (; c + kLanes <= p.c; c += kLanes) filtered_channels<T, 1, kLanes>(p, sample, row, c, rows);
    if (c < p.c) filtered_channels<T, 1, 0>(p, sample, row, c, rows);
}

template <typename T>
void some_rows(const Problem& p, int64_t begin, int64_t end) {
    std::vector<float> line(p.w / 2 + 2);
    const std::vector<T> zeros(p.taps ? static_cast<size_t>(p.w + 1) * p.c : 0);
    for (int64_t r = begin; r < end; ++r) {
        const int sample = static_cast<int>(r / p.h), row = static_cast<int>(r % p.h);
        p.taps ? filtered_row<T>(p, sample, row, zeros.data()) : plain_row<T>(p, sample, row, line.data());
    }
}

}  // namespace

// x and y of `dtype` (float32 or bfloat16), all else float. y may be x where there are no taps. Returns nullptr, or
// what went wrong.
extern "C" const char* styled(const void* x, void* y, int dtype, int b, int h, int w, int c, const float* taps,
                              const float* scale, const float* bias, const float* noise, int64_t noise_step,
                              float slope, float gain, float clamp, const float* after, float* rgb,
                              const float* before, const float* rgb_taps, const float* rgb_weight,
                              const float* rgb_bias, float rgb_clamp, int threads) {
    const Problem p{x,    y,     b,     h,   w,      c,        taps,       scale,    bias,     noise, noise_step, slope,
                    gain, clamp, after, rgb, before, rgb_taps, rgb_weight, rgb_bias, rgb_clamp};
    const int64_t rows = static_cast<int64_t>(b) * h;
    threads = static_cast<int>(std::clamp<int64_t>(rows * w * c / kWorthAThread, 1, std::min<int64_t>(threads, rows)));
    if (dtype == kFloat32) {
        share(rows, threads, [&](int64_t begin, int64_t end) { some_rows<float>(p, begin, end); });
    } else if (dtype == kBFloat16) {
        share(rows, threads, [&](int64_t begin, int64_t end) { some_rows<BFloat16>(p, begin, end); });
    } else {
        return "unknown dtype";
    }
    return nullptr;
}
