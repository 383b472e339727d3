// upfirdn2d on CPUs, from its definition (../reference.py): zero insertion, padding, FIR filter, decimation.
//
// A thread makes a run of output rows. Where the filter is an outer product, an input row is filtered along x once, in
// float, and kept while output rows still need it; an output row is then a weighted sum of a few kept rows. Any other
// filter adds up its rows of taps one by one. NCHW vectorises over x, channels_last over the channels.
//
// Tap k of output o meets up-sampled pixel u = o * down + k - pad, which is input u / up where that divides.

#include <algorithm>
#include <vector>

#include "common.h"

namespace {

constexpr int64_t kWorthAThread = 1 << 14;  // outputs

struct Axis {
    int size, out, up, down, pad;

    // The first tap that output o has an input for, at this phase; the next ones come every `up`.
    int first_tap(int o) const { return (((pad - o * down) % up) + up) % up; }
    int input(int o, int k) const { return (o * down + k - pad) / up; }  // exact for the taps of the phase
};

template <typename A>
struct Filter {  // correlation, gain included
    int kh, kw;
    std::vector<A> grid, across, down;  // grid[i][j] = down[i] * across[j] where `outer`
    bool outer = true;

    Filter(const A* f, int kh_, int kw_, bool flip, A gain) : kh(kh_), kw(kw_), grid(kh_ * kw_), across(kw_), down(kh_) {
        for (int i = 0; i < kh; ++i)
            for (int j = 0; j < kw; ++j)
                grid[i * kw + j] = gain * (flip ? f[i * kw + j] : f[(kh - 1 - i) * kw + kw - 1 - j]);
        const A corner = grid[0];
        outer = corner != A(0);
        for (int j = 0; j < kw; ++j) across[j] = grid[j] / corner;
        for (int i = 0; i < kh; ++i) down[i] = grid[i * kw];
        for (int i = 0; i < kh; ++i)
            for (int j = 0; j < kw; ++j) outer = outer && grid[i * kw + j] * corner == down[i] * grid[j];
    }
};

// sum[i] = or += weight * row[i], of up to four rows at once.
template <bool ADD, int N, typename A, typename T>
inline void mix(A* __restrict__ sum, int64_t n, const A* weights, const T* const* rows) {
    A w[4] = {};
    const T* __restrict__ r[4] = {};
    for (int k = 0; k < N; ++k) w[k] = weights[k], r[k] = rows[k];
    for (int64_t i = 0; i < n; ++i) {
        A s = ADD ? sum[i] : A(0);
        if constexpr (N > 0) s += w[0] * widen(r[0][i]);
        if constexpr (N > 1) s += w[1] * widen(r[1][i]);
        if constexpr (N > 2) s += w[2] * widen(r[2][i]);
        if constexpr (N > 3) s += w[3] * widen(r[3][i]);
        sum[i] = s;
    }
}

template <bool ADD, typename A, typename T>
inline void mix(A* sum, int64_t n, int count, const A* weights, const T* const* rows) {
    switch (count) {
        case 0: return mix<ADD, 0>(sum, n, weights, rows);
        case 1: return mix<ADD, 1>(sum, n, weights, rows);
        case 2: return mix<ADD, 2>(sum, n, weights, rows);
        case 3: return mix<ADD, 3>(sum, n, weights, rows);
        default: return mix<ADD, 4>(sum, n, weights, rows);
    }
}

// The inputs that an output meets: `count` of them from `input` on, with the taps from `tap` on, `up` apart.
struct Meeting {
    int input, tap, count;

    Meeting(const Axis& axis, int o, int taps) : input(0), tap(axis.first_tap(o)), count(0) {
        while (tap < taps && axis.input(o, tap) < 0) tap += axis.up;
        if (tap < taps) input = axis.input(o, tap);
        for (int k = tap; k < taps && input + count < axis.size; k += axis.up) ++count;
    }
};

template <typename T>
class Worker {
    using A = acc_t<T>;

   public:
    Worker(const Axis& x, const Axis& y, int step, const Filter<A>& filter)
        : ax_(x), ay_(y), step_(step), filter_(filter), width_(static_cast<int64_t>(x.out) * step) {
        slots_ = filter.outer ? filter.kh + 1 : 0;
        kept_.resize(slots_ * width_);
        holds_.assign(slots_, -1);
        sum_.resize(width_);
        first_ = x.pad >= 0 ? -((x.pad + x.up - 1) / x.up) : -x.pad / x.up;
        const int last = (x.out - 1) * x.down + filter.kw - 1 - x.pad;
        line_.resize(std::max(0, (last >= 0 ? last / x.up : 0) - first_ + 2) + 64);
        for (int o = 0; step > 1 && o < x.out; ++o) meetings_.emplace_back(x, o, filter.kw);
    }

    void begin_plane(const T* plane) {
        plane_ = plane;
        std::fill(holds_.begin(), holds_.end(), -1);
    }

    void row(int oy, T* out) {
        const Meeting m(ay_, oy, filter_.kh);
        if (!filter_.outer) {
            if (m.count == 0) std::fill(sum_.begin(), sum_.end(), A(0));
            for (int k = 0; k < m.count; ++k) {
                const A* taps = &filter_.grid[(m.tap + k * ay_.up) * filter_.kw];
                k ? along<true>(m.input + k, taps, sum_.data()) : along<false>(m.input, taps, sum_.data());
            }
            for (int64_t i = 0; i < width_; ++i) narrow(sum_[i], out[i]);
            return;
        }
        const A* rows[kMost];
        A weights[kMost];
        for (int done = 0; done < m.count || done == 0; done += kMost) {
            const int count = std::min(m.count - done, kMost);
            for (int k = 0; k < count; ++k) {
                rows[k] = kept(m.input + done + k);
                weights[k] = filter_.down[m.tap + (done + k) * ay_.up];
            }
            if (m.count <= kMost) return finish(count, weights, rows, out);
            done ? mix<true>(sum_.data(), width_, count, weights, rows) : mix<false>(sum_.data(), width_, count, weights, rows);
        }
        for (int64_t i = 0; i < width_; ++i) narrow(sum_[i], out[i]);
    }

   private:
    static constexpr int kMost = 4;

    // mix and narrow in one pass.
    template <int N>
    void finish(const A* weights, const A* const* rows, T* __restrict__ out) const {
        A w[4] = {};
        const A* __restrict__ r[4] = {};
        for (int k = 0; k < N; ++k) w[k] = weights[k], r[k] = rows[k];
        for (int64_t i = 0; i < width_; ++i) {
            A s = 0;
            if constexpr (N > 0) s += w[0] * r[0][i];
            if constexpr (N > 1) s += w[1] * r[1][i];
            if constexpr (N > 2) s += w[2] * r[2][i];
            if constexpr (N > 3) s += w[3] * r[3][i];
            narrow(s, out[i]);
        }
    }

    void finish(int count, const A* weights, const A* const* rows, T* out) const {
        switch (count) {
            case 0: return finish<0>(weights, rows, out);
            case 1: return finish<1>(weights, rows, out);
            case 2: return finish<2>(weights, rows, out);
            case 3: return finish<3>(weights, rows, out);
            default: return finish<4>(weights, rows, out);
        }
    }

    // Input row iy filtered along x, made once while it is needed.
    const A* kept(int iy) {
        const int slot = iy % slots_;
        A* row = &kept_[slot * width_];
        if (holds_[slot] != iy) {
            along<false>(iy, filter_.across.data(), row);
            holds_[slot] = iy;
        }
        return row;
    }

    template <bool ADD>
    void along(int iy, const A* taps, A* out) {
        const T* row = plane_ + static_cast<int64_t>(iy) * ax_.size * step_;
        step_ > 1 ? along_channels<ADD>(row, taps, out) : along_line<ADD>(row, taps, out);
    }

    template <bool ADD>
    void along_channels(const T* row, const A* taps, A* out) const {
        for (int o = 0; o < ax_.out;) {
            const Meeting& m = meetings_[o];
            int alike = 1;  // outputs in a row that meet as many inputs, each one further on: one loop for all
            if (ax_.up == 1 && ax_.down == 1)
                while (o + alike < ax_.out && meetings_[o + alike].count == m.count && meetings_[o + alike].tap == m.tap) ++alike;
            const T* inputs[kMost];
            A weights[kMost];
            A* to = out + static_cast<int64_t>(o) * step_;
            for (int done = 0; done < m.count || done == 0; done += kMost) {
                const int count = std::min(m.count - done, kMost);
                for (int k = 0; k < count; ++k) {
                    inputs[k] = row + static_cast<int64_t>(m.input + done + k) * step_;
                    weights[k] = taps[m.tap + (done + k) * ax_.up];
                }
                const int64_t n = static_cast<int64_t>(alike) * step_;
                ADD || done ? mix<true>(to, n, count, weights, inputs) : mix<false>(to, n, count, weights, inputs);
            }
            o += alike;
        }
    }

    // The row with zeros where the filter leaves it, then every phase of the outputs at its own stride.
    template <bool ADD>
    void along_line(const T* row, const A* taps, A* out) {
        const int n = static_cast<int>(line_.size());
        const int begin = std::clamp(-first_, 0, n), end = std::clamp(ax_.size - first_, begin, n);
        A* __restrict__ line = line_.data();
        std::fill(line, line + begin, A(0));
        const T* __restrict__ from = row + first_;
        for (int i = begin; i < end; ++i) line[i] = widen(from[i]);
        std::fill(line + end, line + n, A(0));
        if (ax_.up == 1 && ax_.down == 1 && filter_.kw == 4) return same4<ADD>(taps, out);
        if (ax_.up == 2 && ax_.down == 1 && filter_.kw == 4) return up4<ADD>(taps, out);
        if (ax_.up == 1 && ax_.down == 2 && filter_.kw == 4) return down4<ADD>(taps, out);
        if (!ADD) std::fill(out, out + ax_.out, A(0));
        for (int phase = 0; phase < std::min(ax_.up, ax_.out); ++phase)  // outputs phase, phase + up, ...
            for (int k = ax_.first_tap(phase); k < filter_.kw; k += ax_.up) {
                const A weight = taps[k];
                const A* in = line + ax_.input(phase, k) - first_;
                const int count = (ax_.out - phase + ax_.up - 1) / ax_.up;
                if (ax_.up == 1 && ax_.down == 1) {
                    for (int m = 0; m < count; ++m) out[m] += weight * in[m];
                } else {
                    for (int m = 0; m < count; ++m) out[phase + m * ax_.up] += weight * in[m * ax_.down];
                }
            }
    }

    template <bool ADD>
    void same4(const A* taps, A* __restrict__ out) const {
        const A a = taps[0], b = taps[1], c = taps[2], d = taps[3];
        const A* __restrict__ in = line_.data();
        for (int i = 0; i < ax_.out; ++i)
            out[i] = (ADD ? out[i] : A(0)) + a * in[i] + b * in[i + 1] + c * in[i + 2] + d * in[i + 3];
    }

    template <bool ADD>
    void down4(const A* taps, A* __restrict__ out) const {
        const A a = taps[0], b = taps[1], c = taps[2], d = taps[3];
        const A* __restrict__ in = line_.data();
        for (int i = 0; i < ax_.out; ++i)
            out[i] = (ADD ? out[i] : A(0)) + a * in[2 * i] + b * in[2 * i + 1] + c * in[2 * i + 2] + d * in[2 * i + 3];
    }

    template <bool ADD>
    void up4(const A* taps, A* __restrict__ out) const {
        const int k0 = ax_.first_tap(0), k1 = 1 - k0;  // even and odd outputs take every other tap
        const A a = taps[k0], b = taps[k0 + 2], c = taps[k1], d = taps[k1 + 2];
        const A* __restrict__ even = line_.data() + ax_.input(0, k0) - first_;
        const A* __restrict__ odd = line_.data() + ax_.input(1, k1) - first_;
        const int pairs = ax_.out / 2;
        for (int i = 0; i < pairs; ++i) {
            out[2 * i] = (ADD ? out[2 * i] : A(0)) + a * even[i] + b * even[i + 1];
            out[2 * i + 1] = (ADD ? out[2 * i + 1] : A(0)) + c * odd[i] + d * odd[i + 1];
        }
        if (ax_.out % 2) {
            const int i = pairs;
            out[2 * i] = (ADD ? out[2 * i] : A(0)) + a * even[i] + b * even[i + 1];
        }
    }

    const Axis ax_, ay_;
    const int step_;
    const Filter<A>& filter_;
    const int64_t width_;  // values of an output row
    int slots_, first_;    // first_: the input that line_ begins with, perhaps before the row
    std::vector<A> kept_, sum_, line_;
    std::vector<int> holds_;
    std::vector<Meeting> meetings_;  // of every output along x, where channels lie innermost
    const T* plane_ = nullptr;
};

}  // namespace

// Returns nullptr, or what went wrong. x, y: [b, c, h, w] and [b, c, out_h, out_w] of `dtype`, not empty, contiguous
// as NCHW or (channels_last) as NHWC; f: float [kh, kw], double where x is.
extern "C" const char* upfirdn2d(const void* x, const void* f, void* y, int dtype, int b, int c, int h, int w,
                                 int out_h, int out_w, int kh, int kw, int up_x, int up_y, int down_x, int down_y,
                                 int left, int top, int flip_filter, double gain, int channels_last, int threads,
                                 void*) {
    const Axis ax{w, out_w, up_x, down_x, left}, ay{h, out_h, up_y, down_y, top};
    const int step = channels_last ? c : 1;
    const int64_t rows = static_cast<int64_t>(channels_last ? b : b * c) * out_h;
    const int64_t in_plane = static_cast<int64_t>(h) * w * step, out_row = static_cast<int64_t>(out_w) * step;
    threads = static_cast<int>(std::clamp<int64_t>(std::min(rows, rows * out_row / kWorthAThread), 1, threads));
    const bool known = with_dtype(dtype, [&](auto zero) {
        using T = decltype(zero);
        using A = acc_t<T>;
        const Filter<A> filter(static_cast<const A*>(f), kh, kw, flip_filter != 0, static_cast<A>(gain));
        share(rows, threads, [&](int64_t begin, int64_t end) {
            Worker<T> worker(ax, ay, step, filter);
            for (int64_t r = begin; r < end; ++r) {
                const int oy = static_cast<int>(r % out_h);
                if (r == begin || oy == 0) worker.begin_plane(static_cast<const T*>(x) + r / out_h * in_plane);
                worker.row(oy, static_cast<T*>(y) + r * out_row);
            }
        });
    });
    return known ? nullptr : "unknown dtype";
}
