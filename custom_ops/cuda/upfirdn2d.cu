// upfirdn2d on CUDA, from its definition (../reference.py): zero insertion, padding, FIR filter, decimation.
//
// StyleGAN2's filter has 4 x 4 taps and meets up = 2, down = 2 or neither: `fir4_kernel`. A thread makes RX x RY
// outputs of V channels and reads every input of theirs once: row by row, each row goes into the sums of all output
// rows that it reaches, all in registers. Where the taps are an outer product (1, 3, 3, 1 along both axes) a row is
// filtered once and then weighted, 8 multiplications instead of 16. What neighbouring threads read twice comes from
// the cache, so memory sees about one read and one write a value. Everything else: `any_kernel`.
//
// Tap k of output o meets up-sampled pixel u = o * down + k - pad, which is input u / up where that divides.

#include "common.cuh"

namespace {

constexpr int kTaps = 4;
constexpr int kThreads = 128;

struct Problem {
    const void* x;
    const void* f;  // float [kh, kw], double where x is
    void* y;
    int b, c, h, w, out_h, out_w, kh, kw;
    int up_x, up_y, down_x, down_y, left, top;
    bool flip_filter, channels_last;
    double gain;
};

// Weight of tap (i, j) of the correlation, gain included.
template <typename A>
__device__ __forceinline__ A tap(const Problem& p, int i, int j) {
    const int row = p.flip_filter ? i : p.kh - 1 - i, column = p.flip_filter ? j : p.kw - 1 - j;
    return static_cast<const A*>(p.f)[row * p.kw + column] * static_cast<A>(p.gain);
}

__device__ __forceinline__ bool within(int i, int n) { return static_cast<unsigned>(i) < static_cast<unsigned>(n); }

template <typename A>
struct Taps {
    A grid[kTaps][kTaps];
    A across[kTaps], down[kTaps];  // grid = down x across, where `outer`
    bool outer;

    __device__ explicit Taps(const Problem& p) {
#pragma unroll
        for (int i = 0; i < kTaps; ++i)
#pragma unroll
            for (int j = 0; j < kTaps; ++j) grid[i][j] = tap<A>(p, i, j);
        const A corner = grid[0][0];
        outer = corner != A(0);
#pragma unroll
        for (int i = 0; i < kTaps; ++i) {
            across[i] = grid[0][i] / corner;
            down[i] = grid[i][0];
#pragma unroll
            for (int j = 0; j < kTaps; ++j) outer = outer && grid[i][j] * corner == grid[i][0] * grid[0][j];
        }
    }
};

// Where a thread works: its first output, and the input that tap (0, 0) of it meets.
struct Place {
    int ox, oy, ix, iy;
    int step;                    // between columns: C where channels lie innermost, else 1
    int64_t x_pitch, y_pitch;    // between rows
    int64_t x_plane, y_plane;    // where the plane (and the channel) begins
};

template <typename T, int UP, int DOWN, int RX, int RY, int V>
__device__ Place place(const Problem& p, unsigned thread, unsigned groups_x, unsigned groups_y) {
    const unsigned channel_groups = V > 1 ? p.c / V : 1;  // fastest to slowest: channels, x, y, planes
    const unsigned channel = V > 1 ? thread % channel_groups * V : 0;
    if (V > 1) thread /= channel_groups;
    const unsigned rows = thread / groups_x;
    const int64_t plane = rows / groups_y;
    Place at;
    at.ox = static_cast<int>(thread % groups_x * RX);
    at.oy = static_cast<int>(rows % groups_y * RY);
    if (UP == 2) {  // begin where the up-sampled position is even: taps and inputs then meet alike in every thread
        at.ox -= p.left & 1;
        at.oy -= p.top & 1;
    }
    at.ix = (at.ox * DOWN - p.left) / UP;
    at.iy = (at.oy * DOWN - p.top) / UP;
    at.step = V > 1 ? p.c : 1;
    at.x_pitch = static_cast<int64_t>(p.w) * at.step;
    at.y_pitch = static_cast<int64_t>(p.out_w) * at.step;
    at.x_plane = plane * p.h * at.x_pitch + channel;
    at.y_plane = plane * p.out_h * at.y_pitch + channel;
    return at;
}

// One output row of the thread; WHOLE: all RX of it go as one store (V = 1).
template <typename T, int RX, int V, bool WHOLE, typename A>
__device__ __forceinline__ void store_row(T* y, const Problem& p, const Place& at, const A (&sum)[RX][V]) {
    if constexpr (WHOLE) {
        Pack<T, RX> pack;
#pragma unroll
        for (int c = 0; c < RX; ++c) narrow(sum[c][0], pack.v[c]);
        store_pack<T, RX>(y, pack);
    } else {
#pragma unroll
        for (int c = 0; c < RX; ++c) {
            Pack<T, V> pack;
#pragma unroll
            for (int v = 0; v < V; ++v) narrow(sum[c][v], pack.v[v]);
            if (within(at.ox + c, p.out_w)) store_pack<T, V>(y + c * at.step, pack);
        }
    }
}

// AHEAD: rows that a thread asks memory for before it needs them.
template <typename T, int UP, int DOWN, int RX, int RY, int V, int AHEAD, bool WHOLE, bool OUTER>
__device__ __forceinline__ void fir4(const Problem& p, const Place& at, const Taps<acc_t<T>>& taps) {
    using A = acc_t<T>;
    constexpr int kColumns = ((RX - 1) * DOWN + kTaps - 1) / UP + 1;  // inputs that the outputs of a thread need
    constexpr int kRows = ((RY - 1) * DOWN + kTaps - 1) / UP + 1;
    const T* __restrict__ x = static_cast<const T*>(p.x) + at.x_plane + at.iy * at.x_pitch + at.ix * at.step;
    T* __restrict__ y = static_cast<T*>(p.y) + at.y_plane + at.oy * at.y_pitch + at.ox * at.step;

    bool inside[kColumns];
#pragma unroll
    for (int j = 0; j < kColumns; ++j) inside[j] = within(at.ix + j, p.w);
    Pack<T, V> raw[kRows][kColumns];  // of which only a few rows are alive at a time
    const auto load_row = [&](int i) {
        const bool row_inside = within(at.iy + i, p.h);
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
            raw[i][j] = {};
            if (row_inside && inside[j]) raw[i][j] = load_pack<T, V>(x + i * at.x_pitch + j * at.step);
        }
    };
    A sum[RY][RX][V] = {};
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) load_row(i);

#pragma unroll
    for (int i = 0; i < kRows; ++i) {
        if (i + AHEAD < kRows) load_row(i + AHEAD);
        A in[kColumns][V];
#pragma unroll
        for (int j = 0; j < kColumns; ++j)
#pragma unroll
            for (int v = 0; v < V; ++v) in[j][v] = widen(raw[i][j].v[v]);
        A along[RX][V] = {};
        if (OUTER) {
#pragma unroll
            for (int c = 0; c < RX; ++c)
#pragma unroll
                for (int k = 0; k < kTaps; ++k)
#pragma unroll
                    for (int v = 0; v < V; ++v)
                        if ((c * DOWN + k) % UP == 0) along[c][v] += taps.across[k] * in[(c * DOWN + k) / UP][v];
        }
#pragma unroll
        for (int r = 0; r < RY; ++r) {  // the output rows that input row i reaches, with tap k
            const int k = i * UP - r * DOWN;
            if (k < 0 || k >= kTaps) continue;
#pragma unroll
            for (int c = 0; c < RX; ++c)
#pragma unroll
                for (int v = 0; v < V; ++v) {
                    if (OUTER) {
                        sum[r][c][v] += taps.down[k] * along[c][v];
                    } else {
#pragma unroll
                        for (int l = 0; l < kTaps; ++l)
                            if ((c * DOWN + l) % UP == 0)
                                sum[r][c][v] += taps.grid[k][l] * in[(c * DOWN + l) / UP][v];
                    }
                }
            const bool last = (r * DOWN + kTaps - 1) / UP == i;
            if (last && within(at.oy + r, p.out_h)) store_row<T, RX, V, WHOLE>(y + r * at.y_pitch, p, at, sum[r]);
        }
    }
}

template <typename T, int UP, int DOWN, int RX, int RY, int V, int AHEAD, bool WHOLE>
__global__ void __launch_bounds__(kThreads)
    fir4_kernel(const Problem p, unsigned groups_x, unsigned groups_y, unsigned threads) {
    const unsigned thread = blockIdx.x * kThreads + threadIdx.x;
    if (thread >= threads) return;
    const Place at = place<T, UP, DOWN, RX, RY, V>(p, thread, groups_x, groups_y);
    const Taps<acc_t<T>> taps(p);
    if (taps.outer) {
        fir4<T, UP, DOWN, RX, RY, V, AHEAD, WHOLE, true>(p, at, taps);
    } else {
        fir4<T, UP, DOWN, RX, RY, V, AHEAD, WHOLE, false>(p, at, taps);
    }
}

// Any filter and any factors: one output a thread.
template <typename T>
__global__ void any_kernel(const Problem p, int64_t outputs) {
    using A = acc_t<T>;
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    const int64_t step = p.channels_last ? p.c : 1, pitch = step * p.w;
    for (int64_t o = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; o < outputs; o += stride) {
        int64_t rest = o / step;  // o runs over memory
        const int ox = static_cast<int>(rest % p.out_w);
        rest /= p.out_w;
        const int oy = static_cast<int>(rest % p.out_h);
        const int64_t plane = rest / p.out_h;
        const T* x = static_cast<const T*>(p.x) + plane * p.h * pitch + o % step;
        const int ux = ox * p.down_x - p.left, uy = oy * p.down_y - p.top;  // up-sampled pixel of tap (0, 0)
        const int j0 = ((-ux) % p.up_x + p.up_x) % p.up_x, i0 = ((-uy) % p.up_y + p.up_y) % p.up_y;
        A sum = 0;
        for (int i = i0; i < p.kh; i += p.up_y) {
            const int iy = (uy + i) / p.up_y;
            if (uy + i < 0 || iy >= p.h) continue;
            for (int j = j0; j < p.kw; j += p.up_x) {
                const int ix = (ux + j) / p.up_x;
                if (ux + j >= 0 && ix < p.w) sum += tap<A>(p, i, j) * widen(x[iy * pitch + ix * step]);
            }
        }
        narrow(sum, static_cast<T*>(p.y)[o]);
    }
}

int64_t groups(int64_t n, int size) { return (n + size - 1) / size; }

// False: not its kind of problem.
template <typename T, int UP, int DOWN, int RX, int RY, int V, int AHEAD>
bool launch_fir4(const Problem& p, cudaStream_t stream) {
    if (V > 1 && (p.c % V || !aligned(p.x, sizeof(T) * V) || !aligned(p.y, sizeof(T) * V))) return false;
    const int shift_x = UP == 2 ? p.left & 1 : 0, shift_y = UP == 2 ? p.top & 1 : 0;
    const int64_t groups_x = groups(p.out_w + shift_x, RX), groups_y = groups(p.out_h + shift_y, RY);
    const int64_t planes = V > 1 ? static_cast<int64_t>(p.b) * (p.c / V) : static_cast<int64_t>(p.b) * p.c;
    const int64_t threads = planes * groups_x * groups_y;
    if (threads > INT32_MAX) return false;
    const auto x_groups = static_cast<unsigned>(groups_x), y_groups = static_cast<unsigned>(groups_y);
    const auto count = static_cast<unsigned>(threads), blocks = static_cast<unsigned>(groups(threads, kThreads));
    if (V == 1 && shift_x == 0 && p.out_w % RX == 0 && aligned(p.y, sizeof(T) * RX)) {
        fir4_kernel<T, UP, DOWN, RX, RY, V, AHEAD, V == 1><<<blocks, kThreads, 0, stream>>>(p, x_groups, y_groups, count);
    } else {
        fir4_kernel<T, UP, DOWN, RX, RY, V, AHEAD, false><<<blocks, kThreads, 0, stream>>>(p, x_groups, y_groups, count);
    }
    return true;
}

// Outputs, channels and rows ahead of a thread: the fastest of those measured on an H200 (docs/speed.md).
template <typename T>
bool launch_fast(const Problem& p, cudaStream_t s) {
    constexpr bool half = sizeof(T) == 2;
    if (p.kh != kTaps || p.kw != kTaps || p.up_x != p.up_y || p.down_x != p.down_y) return false;
    const bool same = p.up_x == 1 && p.down_x == 1, up = p.up_x == 2 && p.down_x == 1, down = p.up_x == 1 && p.down_x == 2;
    if (p.channels_last) {
        if (same) return launch_fir4<T, 1, 1, half ? 1 : 2, 8, 4, half ? 2 : 1>(p, s);
        if (up) {
            if (half && launch_fir4<T, 2, 1, 2, 8, 16 / sizeof(T), 2>(p, s)) return true;  // 8 channels at once
            return launch_fir4<T, 2, 1, 2, 8, 4, half ? 2 : 1>(p, s);
        }
        if (down) return launch_fir4<T, 1, 2, 1, half ? 4 : 8, 4, 2>(p, s);
        return false;
    }
    if (same) return launch_fir4<T, 1, 1, 4, half ? 16 : 8, 1, 2>(p, s);
    if (up) return launch_fir4<T, 2, 1, half ? 8 : 4, 8, 1, half ? 2 : 1>(p, s);
    if (down) return launch_fir4<T, 1, 2, half ? 4 : 2, 8, 1, half ? 2 : 4>(p, s);
    return false;
}

// Not worth a compile: float64 is for checks of gradients.
template <>
bool launch_fast<double>(const Problem&, cudaStream_t) {
    return false;
}

}  // namespace

// Returns nullptr, or what went wrong. x, y: [b, c, h, w] and [b, c, out_h, out_w] of `dtype`, not empty, contiguous
// as NCHW or (channels_last) as NHWC; f as in `Problem`.
extern "C" const char* upfirdn2d(const void* x, const void* f, void* y, int dtype, int b, int c, int h, int w,
                                 int out_h, int out_w, int kh, int kw, int up_x, int up_y, int down_x, int down_y,
                                 int left, int top, int flip_filter, double gain, int channels_last, int device,
                                 void* stream) {
    const Problem p{x,    f,    y,      b,      c,    h,   w,           out_h,         out_w, kh, kw, up_x,
                    up_y, down_x, down_y, left, top, flip_filter != 0, channels_last != 0, gain};
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess) {
        error = with_dtype(dtype, [&](auto zero) {
            using T = decltype(zero);
            const auto s = static_cast<cudaStream_t>(stream);
            if (!launch_fast<T>(p, s)) {
                const int64_t outputs = static_cast<int64_t>(b) * c * out_h * out_w;
                const int64_t blocks = groups(outputs, 256);
                any_kernel<T><<<static_cast<unsigned>(blocks < (1 << 20) ? blocks : 1 << 20), 256, 0, s>>>(p, outputs);
            }
            return cudaGetLastError();
        });
    }
    return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
