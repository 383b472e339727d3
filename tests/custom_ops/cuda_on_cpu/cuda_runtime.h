// Just enough of CUDA to run the kernels on a CPU, one thread after another: neither they nor this need more.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct Dimensions {
    unsigned x, y, z;
};
inline Dimensions blockIdx, threadIdx, blockDim, gridDim;

using cudaError_t = int;
using cudaStream_t = void*;
enum { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "unknown dtype"; }

#define LAUNCH(blocks, threads, ...)                                           \
    do {                                                                       \
        gridDim = {static_cast<unsigned>(blocks), 1, 1};                       \
        blockDim = {static_cast<unsigned>(threads), 1, 1};                     \
        for (blockIdx = {0, 0, 0}; blockIdx.x < gridDim.x; ++blockIdx.x)       \
            for (threadIdx = {0, 0, 0}; threadIdx.x < blockDim.x; ++threadIdx.x) \
                __VA_ARGS__;                                                   \
    } while (0)
